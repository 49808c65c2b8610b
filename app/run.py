"""``tieout run``: one flow in this process."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Callable
from typing import Any, cast

import yaml
from prefect.client.schemas.objects import State

from app.deployments import PREFECT_YAML, flow_of
from core.period import DateSpan


def run_flow(name: str, period: str | None, *, as_json: bool) -> int:
    """Runs the flow of a deployment; 0 when it completed, 1 when records failed.

    Without PREFECT_API_URL the plain function runs: the same work, recorded nowhere but in our own tables.
    """
    declared = {one["name"]: one for one in yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]}
    if name not in declared:
        raise ValueError(f"there is no flow {name!r}; there are {', '.join(declared)}")
    flow = flow_of(declared[name]["entrypoint"])
    parameters: dict[str, Any] = {}
    if "period" in inspect.signature(flow.fn).parameters:
        parameters["period"] = period or declared[name]["parameters"]["period"]
        if parameters["period"]:
            DateSpan.month(parameters["period"])
    elif period is not None:
        raise ValueError(f"{name} takes no --period")
    plain: Callable[..., State[Any]] = flow.fn
    if os.environ.get("PREFECT_API_URL"):
        state = cast("State[Any]", flow(**parameters, return_state=True))
    else:
        logging.getLogger("prefect").setLevel(logging.ERROR)
        state = plain(**parameters)
    if as_json:
        print(json.dumps({"flow": name, "state": state.name, "message": state.message}))
    else:
        print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 1
