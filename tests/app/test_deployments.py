"""``prefect.yaml`` names every flow once, as it is."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import Flow

import flows
from app.deployments import PREFECT_YAML, deployments, flow_of

DECLARED: list[dict[str, Any]] = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
named = pytest.mark.parametrize("declared", DECLARED, ids=[one["name"] for one in DECLARED])


def all_flows() -> dict[str, Flow[Any, Any]]:
    """Every flow that a file of flows/ defines, by its entrypoint."""
    found = {}
    for path in sorted(Path(flows.__path__[0]).glob("*.py")):
        module = import_module(f"flows.{path.stem}") if path.stem != "__init__" else flows
        found |= {
            f"flows/{path.name}:{name}": one
            for name, one in vars(module).items()
            if isinstance(one, Flow) and one.fn.__module__ == module.__name__
        }
    return found


def test_every_flow_has_one_deployment_and_every_deployment_its_flow() -> None:
    assert sorted(one["entrypoint"] for one in DECLARED) == sorted(all_flows())
    assert len({one["name"] for one in DECLARED}) == len(DECLARED)


def test_the_deployments_load_as_they_are_declared() -> None:
    made = {one.name: one for one in deployments()}
    for declared in DECLARED:
        one = made[declared["name"]]
        assert one.flow_name == flow_of(declared["entrypoint"]).name
        assert (one.description, one.tags, one.parameters) == (
            declared["description"],
            declared["tags"],
            declared.get("parameters", {}),
        )
        crons = [(s.schedule.cron, s.active) for s in one.schedules or [] if isinstance(s.schedule, CronSchedule)]
        assert crons == [(schedule["cron"], schedule["active"]) for schedule in declared.get("schedules", [])]
        assert one.concurrency_limit == declared.get("concurrency_limit", {}).get("limit")


@named
def test_the_parameters_of_a_deployment_are_those_of_its_flow(declared: dict[str, Any]) -> None:
    signature = inspect.signature(flow_of(declared["entrypoint"]).fn)
    given = declared.get("parameters", {})
    needed = {name for name, one in signature.parameters.items() if one.default is inspect.Parameter.empty}
    assert needed <= given.keys() <= signature.parameters.keys()
    signature.bind(**given)
    flow_of(declared["entrypoint"]).validate_parameters(given)


@named
def test_a_flow_is_described_to_who_operates_it_and_is_never_retried_around_its_writes(
    declared: dict[str, Any],
) -> None:
    flow = flow_of(declared["entrypoint"])
    assert flow.description
    assert flow.name[0].isupper()
    assert flow.retries == 0
