"""A mapping file is started from what its vendor describes; a custom field needs a line of YAML and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.errors import MappingError, Misconfigured
from core.mapping import inspect_book, load_file
from core.mapping.scaffold import Draft
from flows.check_mappings import check_system
from flows.new_mapping import new_mapping
from tests.flows.hubs import ROOT, account
from tests.flows.test_check_mappings import Stage, staged
from tests.flows.test_ownership import staged as staged_with


@pytest.fixture
def salesforce(tmp_path: Path) -> Iterator[Stage]:
    with staged("salesforce", f"sqlite:///{tmp_path / 'hub.db'}", tmp_path) as stage:
        yield stage


def kept(made: Draft, folder: Path) -> Path:
    """The draft as a file of its system's folder."""
    file = folder / "salesforce" / "new.yaml"
    file.parent.mkdir()
    file.write_text(made.text)
    return file


def test_a_started_file_loads_and_its_example_holds(salesforce: Stage, tmp_path: Path) -> None:
    made = new_mapping(salesforce.hub, "salesforce", "account", "account", "out")
    assert made.undecided == ()
    mapping = load_file(kept(made, tmp_path), ROOT / "mappings")
    assert mapping.run_examples() == []
    assert mapping.spec.key is not None
    assert (mapping.spec.key.to, mapping.spec.source[:20]) == ("Tieout_Id__c", "describe of Account,")
    payload = mapping.out(account(1, name="Acme"), lambda *_: None)
    assert (payload["Name"], payload["Billing_Email__c"], payload["BillingCity"], payload["Payment_Terms_Days__c"]) == (
        "Acme",
        "billing1@customer.example",
        "Austin",
        30,
    )


def test_a_demanded_field_that_cannot_be_matched_is_named_and_keeps_the_file_from_loading(
    salesforce: Stage, tmp_path: Path
) -> None:
    salesforce.change("Account", "Region__c", type="choice", words=["north", "south"], required=True)
    salesforce.change("Account", "Cost_Centre__c", length=8, required=True)
    made = new_mapping(salesforce.hub, "salesforce", "account", "account", "out")
    assert made.undecided == ("Region__c", "Cost_Centre__c")
    kept(made, tmp_path)
    problems = [(problem.field, problem.message[:18]) for problem in inspect_book(tmp_path)[1]]
    assert problems == [
        ("fields.Region__c", "needs one operator"),
        ("fields.Cost_Centre__c", "needs one operator"),
    ]
    assert 'Region__c: {undecided: "one of north, south"}' in made.text
    assert 'Cost_Centre__c: {undecided: "text, at most 8 characters"}' in made.text


def test_a_file_that_takes_in_names_what_the_noun_demands(salesforce: Stage) -> None:
    made = new_mapping(salesforce.hub, "salesforce", "order", "order", "in")
    assert {"account", "lines"} <= set(made.undecided)
    assert "name: {path: Opportunity.Name, missing: fail}" in made.text


def test_a_record_or_resource_that_is_not_there_is_refused_by_name(salesforce: Stage) -> None:
    with pytest.raises(MappingError, match="there is no record acount"):
        new_mapping(salesforce.hub, "salesforce", "acount", "account", "out")
    with pytest.raises(Misconfigured, match="has no resource acount; there is account, contact"):
        new_mapping(salesforce.hub, "salesforce", "account", "acount", "out")


def test_a_vendor_without_a_describe_has_nothing_to_start_from(tmp_path: Path) -> None:
    with (
        staged("avalara", f"sqlite:///{tmp_path / 'hub.db'}", tmp_path) as stage,
        pytest.raises(Misconfigured, match="no describe at this vendor; begin with a copy"),
    ):
        new_mapping(stage.hub, "avalara", "invoice", "invoice", "out")


#: System, object and name of a custom field, the line of YAML, and what stands before it in the file.
CUSTOM = [
    ("salesforce", "Account", "Legal_Name__c", "  BillingStreet:"),
    ("hubspot", "companies", "legal_name", "  address:"),
    ("dynamics", "account", "new_legalname", "  address1_line1:"),
]


@pytest.mark.parametrize(("system", "object_", "field", "before"), CUSTOM, ids=[one[0] for one in CUSTOM])
def test_a_custom_field_needs_a_line_of_yaml_and_nothing_else(
    system: str, object_: str, field: str, before: str, tmp_path: Path
) -> None:
    line = f'  {field}: {{text: ["{{name}} ({{id}})"], max: 100, too_long: fail}}\n'
    with staged_with(system, tmp_path, (f"{system}/account.yaml", before, line + before)) as stage:
        assert [row["difference"] for row in check_system(stage.hub, system).rows] == ["missing field"]
        made = {"object": object_, "field": field, "type": "text", "length": 100}
        httpx.post(f"{stage.url}/_sandbox/schema", json=made).raise_for_status()
        assert check_system(stage.hub, system).rows == []
        stage.deliver(account(1, name="Acme"))
        assert "Acme (A-0001)" in str(stage.held())
