"""What ``tieout`` prints: one JSON value where it is asked for, one sentence when the user is wrong."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from app.deployments import PREFECT_YAML
from flows.settings import CONFIG_VARIABLE
from tests.app.conftest import Tieout
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

#: A close waits for a person; its own tests tell how it ends.
FLOWS = [
    one["name"]
    for one in yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
    if one["name"] not in ("order-to-cash", "close")
]


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_runs_from_the_command_line_and_changes_nothing_that_is_done(
    configured: Path, closed: Company, tieout: Tieout, flow: str
) -> None:
    before = closed.objects()
    said = tieout("run", flow, "--json")
    assert (said.code, said.json["flow"], said.json["state"]) == (0, flow, "Completed"), said
    assert closed.objects() == before


def test_a_tie_out_that_closes_exits_0_and_tells_each_tie(configured: Path, tieout: Tieout) -> None:
    said = tieout("tie-out", "--period", PERIOD, "--json")
    assert said.code == 0
    assert said.json["breaks"] == []
    assert {line["difference"] for line in said.json["tie_out"]} == {"0.00"}
    assert "invoices = payments" in tieout("tie-out", "--period", PERIOD).out


def test_a_tie_out_that_does_not_close_exits_1_and_names_the_break(
    configured: Path, closed: Company, tieout: Tieout
) -> None:
    with closed.changed("netsuite", "invoice", "INV-2026-10-A-0003", total="72.01"):
        said = tieout("tie-out", "--period", PERIOD, "--json")
        told = tieout("tie-out", "--period", PERIOD)
    assert (said.code, told.code) == (1, 1)
    assert [(one["subject"], one["kind"]) for one in said.json["breaks"]] == [("INV-2026-10-A-0003", "invoice_amount")]
    assert "INV-2026-10-A-0003: 72.00 USD against 72.01 USD" in told.out
    assert tieout("tie-out", "--period", PERIOD).code == 0


def test_what_a_tie_out_found_is_told_again_as_of_later(configured: Path, closed: Company, tieout: Tieout) -> None:
    found = tieout("tie-out", "--period", PERIOD, "--json")
    past = tieout("tie-out", "--period", PERIOD, "--as-of", "2100-01-01T00:00:00", "--json")
    assert (past.code, past.json["tie_out"], past.json["breaks"]) == (0, found.json["tie_out"], [])
    told = tieout("tie-out", "--period", PERIOD, "--as-of", "2100-01-01T00:00:00")
    assert f"as of {datetime.fromisoformat(past.json['as_of']):%F %T} UTC" in " ".join(told.out.split())
    none = tieout("tie-out", "--period", PERIOD, "--as-of", "2026-10-01T00:00:00")
    assert (none.code, "the first one ended at" in none.err) == (2, True)


def test_the_doctor_finds_every_system_well(configured: Path, closed: Company, tieout: Tieout) -> None:
    said = tieout("doctor", "--json")
    assert [one for one in said.json if not one["ok"]] == []
    assert said.code == 0
    for system in closed.hub.systems:
        assert any(one["check"].startswith(f"{system}: ") for one in said.json)


def test_the_doctor_says_what_is_wrong_and_what_to_do(
    configured: Path, tieout: Tieout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "tieout.toml"
    broken.write_text(configured.read_text().replace("sandbox-token-secret", "canary-token-secret"))
    monkeypatch.setenv(CONFIG_VARIABLE, str(broken))
    said = tieout("doctor", "--json")
    wrong = [one for one in said.json if not one["ok"]]
    assert (said.code, {one["check"].split(":")[0] for one in wrong}) == (1, {"netsuite"})
    assert all(one["cure"] for one in wrong)
    assert "canary-token-secret" not in said.out + said.err + tieout("doctor").out


def test_the_error_desk_is_listed_shown_retried_and_ignored(configured: Path, closed: Company, tieout: Tieout) -> None:
    assert tieout("errors", "list", "--json").json == []
    assert tieout("errors", "list").out.strip() == "the error desk is empty"
    head = "id,account_id,site_id,meter,quantity,occurred_at\n"
    closed.bring("desk.csv", head + "z1,A-0001,A-0001-S9,conference_minutes,5,2026-11-02T09:00:00Z\n")
    assert tieout("run", "ingest-usage", "--json").code == 1
    (listed,) = tieout("errors", "list", "--json").json
    shown = tieout("errors", "show", listed["id"], "--json").json
    assert (shown["cause"], shown["state"]) == ("unknown_site", "open")
    assert shown["cure"] in tieout("errors", "show", listed["id"]).out
    (would,) = tieout("errors", "retry", "--dry-run", "--json").json
    assert (would["error"], would["done"]) == (listed["id"], "would retry")
    assert tieout("errors", "ignore", listed["id"], "--reason", "a test of ours").code == 0
    assert tieout("errors", "list", "--json").json == []
    kept = tieout("errors", "show", listed["id"], "--json").json
    assert (kept["state"], kept["note"]) == ("ignored", "a test of ours")


def test_a_story_is_told_as_a_tree_or_as_one_json_value(configured: Path, tieout: Tieout) -> None:
    said = tieout("explain", "JE-INV-2026-10-A-0001-2", "--json")
    assert (said.code, said.json["what"], said.json["id"]) == (0, "journal line", "JE-INV-2026-10-A-0001-2")
    told = tieout("explain", "JE-INV-2026-10-A-0001-2")
    assert (told.code, "opportunity line" in told.out) == (0, True)


#: What a user does wrong, and a part of the sentence that says so.
MISTAKES = {
    "bad period": (["tie-out", "--period", "October"], "'October' is not a month"),
    "bad period of a flow": (["run", "rate", "--period", "2026-13"], "'2026-13' is not a month"),
    "period where there is none": (["run", "intake", "--period", PERIOD], "intake takes no --period"),
    "unknown flow": (["run", "brew"], "there is no flow 'brew'"),
    "plan of another flow": (["plan", "bill"], "there is no plan of 'bill'"),
    "plan of another system": (["plan", "deliver", "--system", "sap"], "not in use: sap"),
    "unknown id": (["explain", "nobody"], "nothing here has the id"),
    "unknown desk entry": (["errors", "show", "nobody"], "no entry 'nobody'"),
    "unknown entry to retry": (["errors", "retry", "nobody"], "not open on the error desk: nobody"),
    "unknown entry to ignore": (["errors", "ignore", "nobody", "--reason", "r"], "no open entry 'nobody'"),
}


@pytest.mark.parametrize(("command", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_the_user_is_one_sentence_and_no_traceback(
    configured: Path, tieout: Tieout, command: list[str], sentence: str
) -> None:
    said = tieout(*command)
    assert said.code == 2
    assert sentence in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in said.err


#: What is wrong with the configuration: lines put before it, and a part of the sentence that says so.
MISCONFIGURED = {
    "no such key": ('colour = "red"\n', "colour"),
    "no such system": ('[systems.sap]\nbase_url = "x"\n', "systems.sap is not a system we know"),
    "not TOML": ("colour == red\n", "cannot be read"),
    "no such variable": ('[systems.stripe]\nsecret_key = "env:TIEOUT_NO_SUCH"\n', "TIEOUT_NO_SUCH, which is not set"),
    "no such file": ('[systems.stripe]\nsecret_key = "file:none"\n', "names the file none, which is not there"),
    "secret that all may read": ('[systems.stripe]\nsecret_key = "file:open"\n', "run `chmod 600 open`"),
    "database of another kind": ('database_url = "excel://books"\n', "database_url"),
}


@pytest.mark.parametrize("command", [["errors", "list"], ["run", "deliver"], ["tie-out", "--period", PERIOD]])
@pytest.mark.parametrize(("lines", "sentence"), MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_a_wrong_configuration_is_one_sentence_that_names_file_and_field(
    tieout: Tieout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, sentence: str, command: list[str]
) -> None:
    (tmp_path / "open").write_text("sk_test_canary")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "tieout.toml").write_text(lines)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "tieout.toml"))
    said = tieout(*command)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert "canary" not in said.err


def test_without_a_configuration_the_user_is_told_where_it_is_looked_for(
    tieout: Tieout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    said = tieout("errors", "list")
    assert (said.code, "there is no configuration at tieout.toml" in said.err) == (2, True)
    assert [one["ok"] for one in json.loads(tieout("doctor", "--json").out)] == [False]
