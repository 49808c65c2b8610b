"""The deployments of ``prefect.yaml`` as objects, for ``tieout serve``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.types.entrypoint import EntrypointType

#: ``prefect.yaml`` lies beside the packages, in the source tree.
PREFECT_YAML = Path(__file__).resolve().parent.parent / "prefect.yaml"


def deployments(path: Path = PREFECT_YAML) -> list[RunnerDeployment]:
    """Every deployment that the file declares, with its schedules, parameters, tags and limits."""
    declared = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [_deployment(one) for one in declared["deployments"]]


def flow_of(entrypoint: str) -> Flow[Any, Any]:
    """The flow that ``flows/bill.py:bill`` names."""
    file, _, name = entrypoint.partition(":")
    flow: Flow[Any, Any] = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    return flow


def _deployment(one: dict[str, Any]) -> RunnerDeployment:
    limit = one.get("concurrency_limit")
    schedules = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]),
            active=schedule["active"],
            slug=schedule["slug"],
        )
        for schedule in one.get("schedules", [])
    ]
    made = flow_of(one["entrypoint"]).to_deployment(
        name=one["name"],
        description=one["description"],
        tags=one["tags"],
        parameters=one.get("parameters", {}),
        schedules=schedules or None,
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made
