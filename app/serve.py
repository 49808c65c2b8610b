"""``tieout serve``: a single machine's whole hub: Prefect server, webhook receiver and deployments, in one command."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from app.processes import end_with_parent, free_port, prefect_environment, prefect_server, tell
from flows.context import hub

# Prefect reads the address of its server when it is imported, so nothing that imports it is imported up here.

LOG = logging.getLogger("tieout.serve")

#: Webhooks that come within so many seconds start one intake run together.
GATHER_SECONDS = 1.0

#: Most connections to the receiver; a request beyond them is answered 503, and its vendor sends again.
CONNECTIONS = 2000


class Trigger:
    """Starts the intake deployment after webhooks were stored: a burst becomes one run."""

    def __init__(self) -> None:
        self._stored = threading.Event()
        threading.Thread(target=self._run, name="intake-trigger", daemon=True).start()

    def __call__(self, _system: str) -> None:
        self._stored.set()

    def _run(self) -> None:
        from prefect.deployments import run_deployment

        while True:
            self._stored.wait()
            time.sleep(GATHER_SECONDS)
            self._stored.clear()
            try:
                run_deployment(
                    "Take in orders and payments/intake", timeout=0, flow_run_name="Take in: webhooks came in"
                )
            except (OSError, RuntimeError, ValueError) as error:
                LOG.warning("could not start intake (%s); the next webhook or schedule does", type(error).__name__)


@contextlib.contextmanager
def _receiver(host: str, port: int) -> Iterator[str]:
    """The webhook receiver in a thread of its own."""
    from app.usage_endpoint import usage_routes
    from app.webhooks import receiver

    application = receiver(hub(), notify=Trigger())
    application.router.routes += usage_routes(hub())
    config = uvicorn.Config(
        application, host=host, port=port, log_level="warning", limit_concurrency=CONNECTIONS, timeout_keep_alive=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="receiver", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def _bury_killed_runs() -> None:
    """Ends runs that an earlier life of this machine left open: a killed run would hold its concurrency slot for ever.

    Only for a server of our own, which nothing else runs flows for. The runs' work is in our tables and is taken up by
    the next run.
    """
    from prefect import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    open_states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    still_open = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=open_states)))
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=still_open):
            for run in runs:
                client.set_flow_run_state(run.id, Crashed(message="The machine stopped; run it again."), force=True)
        for limit in client.read_global_concurrency_limits(limit=200):
            if limit.name.startswith("deployment:") and limit.active_slots:
                client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=0))


def serve(ready_file: Path | None, prefect_port: int | None, *, with_parent: bool) -> None:
    """Runs until interrupted. Uses the Prefect server that PREFECT_API_URL names, or starts one."""
    if with_parent:
        end_with_parent()
    folder = hub().settings.state_folder
    for name, value in prefect_environment(folder).items():
        os.environ.setdefault(name, value)
    _ = hub().database, hub().mappings, hub().price_book
    with contextlib.ExitStack() as stack:
        url = os.environ.get("PREFECT_API_URL")
        if not url:
            url = stack.enter_context(prefect_server(folder, prefect_port or free_port()))
            os.environ["PREFECT_API_URL"] = url
            _bury_killed_runs()
        from prefect import serve as serve_deployments  # only now: Prefect reads its settings when it is imported

        from app.deployments import deployments

        settings = hub().settings
        webhooks = stack.enter_context(_receiver(settings.webhook_host, settings.webhook_port))
        made = deployments()
        tell(ready_file, {"prefect_api": url, "prefect_ui": url.removesuffix("/api"), "webhooks": webhooks})
        print(f"Prefect UI  {url.removesuffix('/api')}\nwebhooks    {webhooks}/webhooks/<system>", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve_deployments(*made, print_starting_message=False, limit=4)
