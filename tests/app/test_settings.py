"""Where a setting may come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.blocks.system import Secret

from core.errors import Misconfigured
from flows.settings import load

STRIPE = '[systems.stripe]\nsecret_key = "{key}"\nwebhook_secrets = [{hooks}]\nbase_url = "http://localhost"\n'


def stripe(tmp_path: Path, key: str, hooks: str = "", environ: dict[str, str] | None = None):
    """The settings of Stripe as they are read from a file with this key and these webhook secrets."""
    path = tmp_path / "tieout.toml"
    path.write_text(STRIPE.format(key=key, hooks=hooks))
    return load(path, environ or {}).systems["stripe"]


def test_a_literal_is_taken_as_it_is(tmp_path: Path) -> None:
    assert stripe(tmp_path, "sk_test_1").secret_key.get_secret_value() == "sk_test_1"


def test_a_variable_of_the_environment_is_read(tmp_path: Path) -> None:
    read = stripe(tmp_path, "env:KEY", environ={"KEY": "sk_test_2"})
    assert read.secret_key.get_secret_value() == "sk_test_2"


def test_a_file_is_read_beside_the_configuration_when_its_owner_alone_may_read_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk_test_3\n")
    (tmp_path / "key").chmod(0o600)
    assert stripe(tmp_path, "file:key").secret_key.get_secret_value() == "sk_test_3"
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Misconfigured, match=r"systems\.stripe\.secret_key: key is readable by others") as refused:
        stripe(tmp_path, "file:key")
    assert "sk_test_3" not in str(refused.value)


def test_a_block_of_prefect_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = {"stripe-key": Secret(value="sk_test_4")}

    def held(name: str) -> Secret[str]:
        try:
            return blocks[name]
        except KeyError:
            raise ValueError(f"no block {name}") from None

    monkeypatch.setattr(Secret, "load", staticmethod(held))
    assert stripe(tmp_path, "block:stripe-key").secret_key.get_secret_value() == "sk_test_4"
    with pytest.raises(Misconfigured, match="Prefect Secret block other, which is not there"):
        stripe(tmp_path, "block:other")


def test_each_item_of_a_list_may_come_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("whsec_2")
    (tmp_path / "hook").chmod(0o600)
    read = stripe(tmp_path, "sk_test_1", '"env:HOOK", "file:hook", "whsec_3"', {"HOOK": "whsec_1"})
    assert [one.get_secret_value() for one in read.webhook_secrets] == ["whsec_1", "whsec_2", "whsec_3"]
    with pytest.raises(Misconfigured, match=r"systems\.stripe\.webhook_secrets names the environment variable HOOK"):
        stripe(tmp_path, "sk_test_1", '"env:HOOK"')


def test_relative_paths_lie_beside_the_file_wherever_the_process_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "tieout.toml").write_text('state_folder = "var"\nprice_book = "../book.yaml"\n')
    monkeypatch.chdir("/")
    settings = load(tmp_path / "etc" / "tieout.toml", {})
    assert settings.state_folder == tmp_path / "etc" / "var"
    assert settings.price_book.resolve() == tmp_path / "book.yaml"
    assert settings.database_url == f"sqlite:///{tmp_path / 'etc' / '.tieout' / 'tieout.db'}"


@pytest.mark.parametrize(
    ("line", "where"),
    [("", ".tieout/xero-tokens.json"), ('token_file = "tokens.json"', "tokens.json"), ('token_file = "/t/x"', "/t/x")],
)
def test_tokens_lie_beside_the_file_so_that_every_process_finds_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, where: str
) -> None:
    """A refresh token that was used is worth nothing any more: two places would lock the hub out."""
    monkeypatch.chdir("/")
    path = tmp_path / "tieout.toml"
    given = {"tenant_id": "45e4708e-d862-4111-ab3a-dd8cd03913e1", "client_id": "x", "client_secret": "x"}
    told = [f'{name} = "{value}"' for name, value in {**given, "refresh_token": "x"}.items()]
    path.write_text("\n".join(["[systems.xero]", *told, line]))
    xero = load(path, {}).systems["xero"]
    assert xero.token_file == tmp_path / where  # type: ignore[attr-defined]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tieout.toml"
    path.write_text('database_url = "sqlite:////one.db"\nwebhook_port = 1\n')
    environ = {"TIEOUT_DATABASE_URL": "postgresql+psycopg://db/two", "TIEOUT_WEBHOOK_PORT": "2"}
    settings = load(path, environ)
    assert (settings.database_url, settings.webhook_port) == ("postgresql+psycopg://db/two", 2)
    with pytest.raises(Misconfigured, match="webhook_port"):
        load(path, {"TIEOUT_WEBHOOK_PORT": "many"})


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("[systems.stripe]\n", "systems.stripe.secret_key: Field required"),
        (
            '[systems.stripe]\nsecret_key = "sk_test_canary"\ncolour = "red"\n',
            "systems.stripe.colour is no setting of stripe",
        ),
        ('[systems.stripe]\nsecret_key = "sk_test_canary"\nwebhook_secrets = 5\n', "systems.stripe.webhook_secrets: "),
        ('[systems.paypal]\nkey = "canary"\n', "systems.paypal is not a system we know"),
        ('database_url = "mysql://canary@db"\n', "database_url: "),
        ('systems = "canary"\n', "systems"),
        ('[systems]\nstripe = "canary"\n', "systems.stripe"),
        ('webhook_port = "canary"\n', "webhook_port: "),
        ("price_book = 5\n", "price_book: "),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field_and_its_value_is_not_told(
    tmp_path: Path, lines: str, sentence: str
) -> None:
    path = tmp_path / "tieout.toml"
    path.write_text(lines)
    with pytest.raises(Misconfigured) as refused:
        load(path, {})
    assert str(refused.value).startswith(f"{path}: ")
    assert sentence in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "elsewhere.example",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
        "2130706434",
        "stripe.com.elsewhere.example",
        "notstripe.com",
        "api.stripe.com@elsewhere.example",
    ],
)
def test_credentials_go_to_the_vendor_or_to_a_host_that_is_allowed_by_name(tmp_path: Path, host: str) -> None:
    """A mistyped or planted address gets no credential: the file does not load, and names the setting."""
    path = tmp_path / "tieout.toml"
    path.write_text(STRIPE.format(key="sk_test_1", hooks="").replace("http://localhost", f"https://{host}"))
    with pytest.raises(Misconfigured, match=r"systems\.stripe\.base_url leads to .*, which is not at stripe\.com"):
        load(path, {})


@pytest.mark.parametrize("address", ["https://api.stripe.com", "http://127.0.0.1:9", "https://proxy.example"])
def test_the_vendor_this_machine_and_an_allowed_host_are_taken(tmp_path: Path, address: str) -> None:
    path = tmp_path / "tieout.toml"
    stripe_table = STRIPE.format(key="sk_test_1", hooks="").replace("http://localhost", address)
    path.write_text(f'allowed_hosts = ["proxy.example"]\n{stripe_table}')
    assert load(path, {}).allowed_hosts == ("proxy.example",)


ENTITIES = """
posting_rules = "rules.yaml"
[legal_entity]
id = "us"
currency = "USD"
[[entities]]
id = "de"
currency = "EUR"
timezone = "Europe/Berlin"
sells_to = {country = ["DE", "AT"]}
"""


def test_legal_entities_and_posting_rules_are_read(tmp_path: Path) -> None:
    """Entities keep their order, the one that sells to everybody else comes last, and rules lie beside the file."""
    path = tmp_path / "tieout.toml"
    path.write_text(ENTITIES)
    settings = load(path, {})
    assert [one.id for one in settings.all_entities] == ["de", "us"]
    assert settings.entity("de").sells_to == {"country": ["DE", "AT"]}
    assert settings.posting_rules == tmp_path / "rules.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('sells_to = {country = ["DE", "AT"]}\n', "", "entity de says with sells_to whom it sells to"),
        ('id = "de"', 'id = "us"', "entity us stands there twice"),
        ("{country =", "{colour =", r"entities\.0\.sells_to\.colour"),
        ('id = "de"', 'id = "d e"', r"entities\.0\.id"),
        ('timezone = "Europe/Berlin"', 'timezone = "Mars/Base"', "is not an IANA time zone"),
        (
            '[[entities]]\nid = "de"',
            '[[entities]]\nid = "de"\nsells_to = {region = ["X"]}\n[[entities]]\nid = "de"',
            "twice",
        ),
    ],
)
def test_a_legal_entity_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tieout.toml"
    path.write_text(ENTITIES.replace(old, new))
    with pytest.raises(Misconfigured, match=message):
        load(path, {})
