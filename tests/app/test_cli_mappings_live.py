"""``tieout mappings`` against a system in use: check it live, replay a change, start a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import CONFIG_VARIABLE
from sandbox import server
from tests.app.conftest import Tieout, table
from tests.connectors import contract_salesforce
from tests.flows.hubs import ROOT
from tests.flows.test_check_mappings import Stage


@pytest.fixture
def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """An org in use by a configuration file, and its administrator."""
    with server.start(["salesforce"]) as running:
        url = running.urls["salesforce"]
        config = tmp_path / "tieout.toml"
        config.write_text(f'state_folder = "."\n\n{table("salesforce", contract_salesforce.settings(url))}')
        monkeypatch.setenv(CONFIG_VARIABLE, str(config))
        yield Stage(None, "salesforce", url)  # type: ignore[arg-type]


def test_a_live_check_tells_what_differs_and_ends_with_1_until_nothing_does(org: Stage, tieout: Tieout) -> None:
    said = tieout("mappings", "check", "--live", "salesforce")
    assert (said.code, said.out.strip()) == (0, "salesforce: 7 mappings checked, all fit")
    org.change("Account", "BillingCity", length=20)
    said = tieout("mappings", "check", "--live", "salesforce", "--json")
    assert said.code == 1
    ((file, field, what),) = [(row["file"], row["field"], row["what"]) for row in said.json["differences"]]
    assert (file, field) == ("salesforce/account.yaml", "BillingCity")
    assert what == "the field takes 20 characters, and up to 40 are sent"
    assert "SchemaDrift" in tieout("errors", "list").out


def test_a_system_that_is_not_in_use_is_refused_by_name(org: Stage, tieout: Tieout) -> None:
    said = tieout("mappings", "check", "--live", "netsuite")
    assert said.code != 0
    assert "netsuite is not in use; there is salesforce" in said.err


def test_a_replay_before_anything_was_sent_finds_no_record(org: Stage, tieout: Tieout) -> None:
    file = str(ROOT / "mappings" / "salesforce" / "account.yaml")
    said = tieout("mappings", "replay", "--since", "2026-11-01", "--with", file)
    assert (said.code, said.out.strip()) == (0, "0 of 0 records would be said otherwise; no amount in them differs")


def test_a_file_is_started_where_none_is_and_what_is_undecided_ends_with_1(
    org: Stage, tieout: Tieout, tmp_path: Path
) -> None:
    out = tmp_path / "account.yaml"
    assert tieout("mappings", "new", "salesforce", "account", "--out", str(out)).code == 0
    before = out.read_text()
    assert tieout("mappings", "new", "salesforce", "account", "--out", str(out)).code != 0
    assert out.read_text() == before
    org.change("Account", "Cost_Centre__c", required=True)
    said = tieout("mappings", "new", "salesforce", "account")
    assert said.code == 1
    assert "undecided: Cost_Centre__c" in said.err
    assert "Cost_Centre__c: {undecided:" in said.out
