"""``tieout demo``: a company, its four systems on loopback, and one month from quote to general ledger."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.demo.billing import BillingManager
from app.demo.company import Customer, customers
from app.demo.stacks import STACKS, Place, profile, salesperson, token
from app.demo.usage import write_usage
from app.operators import operator
from app.processes import child, free_port, last_words, prefect_environment, told, until
from core.close import Verdict
from core.errors import Misconfigured
from core.invoicing import Invoice
from core.money import Money, total
from core.orders import Order
from core.payments import Payment, Settlement
from core.period import DateSpan
from core.rating import RatedLine
from core.ties import TieLine
from flows.bill import by_engine, finalise_invoices
from flows.close import standing
from flows.close_books import answer_waiting_runs
from flows.context import Hub
from flows.credit import credit_invoice
from flows.deliver import deliver_all
from flows.ingest import FOLDER
from flows.order_to_cash import Earning
from flows.pack import folder_of
from flows.report import dollars
from flows.settings import CONFIG_VARIABLE, load
from flows.tie_out import row, tie_out_period

PERIOD = "2026-10"
#: The system that bills in the place of the internal core, where a stack has it.
BILLING = "billingplatform"

#: Where communications have an engine of their own, calls are taxed as voice over IP, by transaction and service type.
TELECOM = "19:6"
CALLS_AS_TELECOM = ("name: Video conferencing, tax_code: SW054000", f'name: Video conferencing, tax_code: "{TELECOM}"')

#: Stages of the month, in the order the flow runs them: the flow's name and what the bar says.
STAGES = (
    ("Prepare the ERP", "Set up the ERP"),
    ("Take in orders and payments", "Take in orders"),
    ("Ingest usage", "Take in usage"),
    ("Rate the period", "Meter and price"),
    ("Settle credits", "Grant credit"),
    ("Bill the period", "Draft invoices"),
    ("Deliver to all systems", "Customers out, ask for tax"),
    ("Finalise invoices", "Finalise invoices"),
    ("Collect payments", "Ask for payments"),
    ("Deliver to all systems", "Charge, commit tax, post"),
    ("Take in orders and payments", "Take in payments"),
    ("Book gateway settlements", "Fees and balance"),
    ("Recognise revenue", "Earn deferred revenue"),
    ("Write back to the CRM", "Progress for the CRM"),
    ("Deliver to all systems", "Post cash, tell the CRM"),
    ("Tie out", "Read every system back"),
)


class Ends(StrEnum):
    """What the month ends with."""

    TIE_OUT = "tie-out"
    CLOSE = "close"


@dataclass
class Stack:
    """Everything the demo started: addresses, and the hub to look into."""

    hub: Hub
    vendors: dict[str, str]
    prefect_ui: str


def run_demo(
    state: Path,
    *,
    stack: str,
    seed: int,
    accounts: int,
    events: int,
    headless: bool,
    as_json: bool,
    ends: Ends = Ends.TIE_OUT,
) -> int:
    """Runs the whole path on ``state``; 0 when every tie closes. Repeated on the same state it changes nothing."""
    if platform.system() == "Windows":
        raise Misconfigured("the demo runs on Linux and macOS; on Windows use WSL")
    console = Console(stderr=as_json, highlight=False)
    began = time.monotonic()
    state = state.resolve()
    people = customers(accounts, seed)
    if stack not in STACKS:
        raise ValueError(f"there is no stack {stack!r}; there are {', '.join(STACKS)}")
    _same_company(state, {"stack": stack, "seed": seed, "accounts": accounts, "events": events})
    with contextlib.ExitStack() as opened:
        with console.status("Starting the vendor sandbox, the Prefect server, the receiver and the deployments"):
            running = opened.enter_context(_stack(state, STACKS[stack]))
        console.print(f"Prefect UI [link]{running.prefect_ui}[/link]  (state in {os.path.relpath(state)})")
        before = _objects(running.vendors)
        _month(running, state, people, seed, events, console, ends)
        if ends is Ends.CLOSE:
            _close(running, console, headless=headless)
        elif len(running.hub.playing("tax")) > 1:
            console.print(credit_calls(running.hub))
        lines, _ = tie_out_period(running.hub, PERIOD)
        changes = _changes(before, _objects(running.vendors))
        closed = all(line.closes for line in lines)
        seconds = time.monotonic() - began
        if as_json:
            print(json.dumps(_answer(running, lines, changes, closed, seconds), indent=2))
        else:
            _show(console, running, lines, changes, closed, seconds)
        if not headless:
            console.print("Ctrl-C stops everything; running it again changes nothing.")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
    return 0 if closed else 1


def _same_company(state: Path, wanted: Mapping[str, int | str]) -> None:
    """One state folder holds one company. Misconfigured when it holds another."""
    note = state / "company.json"
    held = told(note)
    if held is None:
        state.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(wanted), encoding="utf-8")
    elif held != wanted:
        flags = " ".join(f"--{name} {value}" for name, value in held.items())
        shown = os.path.relpath(state)
        raise Misconfigured(
            f"{shown} holds the company of {flags}; use these, or another --state, or remove {shown} to begin anew"
        )


@contextlib.contextmanager
def _stack(state: Path, systems: Sequence[str]) -> Iterator[Stack]:
    """The sandbox and ``tieout serve`` as child processes, configured for each other."""
    with contextlib.ExitStack() as opened:
        vendors = opened.enter_context(sandbox(state, systems))
        serving = opened.enter_context(served(state))
        opened.enter_context(temporary_settings({PREFECT_API_URL: serving.prefect_api}))
        hub = Hub(load(state / "tieout.toml"))
        opened.callback(hub.close)
        yield Stack(hub, vendors, serving.prefect_ui)


@contextlib.contextmanager
def sandbox(state: Path, systems: Sequence[str]) -> Iterator[dict[str, str]]:
    """The vendors as a child process that keeps their objects in ``state``, and a configuration for them.

    Gives the address of each.
    """
    ready, log = state / "sandbox.json", state / "logs" / "sandbox.log"
    ready.unlink(missing_ok=True)
    arguments = ["sandbox", *systems, "--port", "0", "--folder", str(state / "sandbox"), "--with-parent"]
    with child(["-m", "app.cli", *arguments, "--ready-file", str(ready)], log, {}) as process:
        vendors = until(lambda: told(ready), process, log, "the vendor sandbox")
        _configure(state, vendors, free_port())
        yield vendors


@dataclass(frozen=True)
class Served:
    """A running ``tieout serve``, and the addresses that it told."""

    process: subprocess.Popen[bytes]
    prefect_api: str
    prefect_ui: str


@contextlib.contextmanager
def served(state: Path) -> Iterator[Served]:
    """``tieout serve`` as a child process, on the configuration in ``state``. Misconfigured when it ends meanwhile."""
    ready, log = state / "serve.json", state / "logs" / "serve.log"
    ready.unlink(missing_ok=True)
    environ = {**prefect_environment(state), CONFIG_VARIABLE: str(state / "tieout.toml"), "PREFECT_API_URL": ""}
    arguments = ["-m", "app.cli", "serve", "--with-parent", "--ready-file", str(ready)]
    with child(arguments, log, environ) as process:
        answer = until(lambda: told(ready), process, log, "tieout serve")
        try:
            yield Served(process, answer["prefect_api"], answer["prefect_ui"])
        except Exception as error:
            if process.poll() is None:
                raise
            gone = last_words("tieout serve ended", log)
            gone.cure = "Run the same command again: it goes on where it was."
            raise gone from error


def _configure(state: Path, vendors: Mapping[str, str], port: int) -> None:
    """Writes the configuration of the sandbox profile, readable by its owner alone; tells each sandbox our receiver."""
    book = Path(__file__).with_name("northwind.yaml").read_text(encoding="utf-8")
    if "avalara_communications" in vendors:
        book = book.replace(*CALLS_AS_TELECOM)
    (state / "price_book.yaml").write_text(book, encoding="utf-8")
    database = os.environ.get("TIEOUT_DATABASE_URL", f"sqlite:///{state / 'tieout.db'}")
    lines = [f"database_url = {json.dumps(database)}", 'state_folder = "."', f"webhook_port = {port}"]
    for name, url in vendors.items():
        place = Place(url, f"http://127.0.0.1:{port}/webhooks/{name}", state, token(state))
        made = profile(name, place)
        lines += ["", f"[systems.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in made.settings.items())]
        if made.webhooks:
            _control(url, "webhooks", dict(made.webhooks))
    path = state / "tieout.toml"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")


def _control(url: str, path: str, body: Any = None) -> Any:
    """A call of a sandbox's control API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/_sandbox/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def _month(
    stack: Stack, state: Path, people: list[Customer], seed: int, events: int, console: Console, ends: Ends
) -> None:
    """The month itself: enter and win the deals, deliver the usage files, run order to cash."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(16), TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(), console=console,
    ) as bars:  # fmt: skip
        bar = bars.add_task("Enter customers and deals", total=None, told="")
        crm = next(iter(stack.vendors))
        sales = salesperson(crm, stack.vendors[crm])
        sales.enter(people, stack.hub.price_book)
        sites = [site for customer in people for site in customer.usage]
        bars.update(bar, total=1, completed=1, told=f"{len(people)} customers, {len(sites)} sites")
        manager = BillingManager(stack.vendors[BILLING]) if BILLING in stack.vendors else None
        if manager:
            manager.set_up(stack.hub)

        bar = bars.add_task("Write usage files", total=None, told="")
        inbox = state / FOLDER
        inbox.mkdir(exist_ok=True)
        if not (state / "usage-written").exists():
            write_usage(inbox, sites=sites, events=events, seed=seed, month=PERIOD)
            (state / "usage-written").touch()
        bars.update(bar, total=1, completed=1, told=f"{events:,} events")

        bar = bars.add_task("Win the deals in the CRM", total=None, told="")
        won = sales.win(lambda done, whole: bars.update(bar, total=whole, completed=done, told=f"{done} of {whole}"))
        bars.update(bar, total=won or 1, completed=won or 1, told=f"{won} won" if won else "won before")

        bar = bars.add_task("Webhooks provision orders", total=None, told="")
        deals = sum(len(customer.deals) for customer in people)
        _wait_for_orders(stack.hub, deals, lambda n: bars.update(bar, total=deals, completed=n, told=f"{n} of {deals}"))
        if manager:
            bar = bars.add_task("BillingPlatform bills", total=None, told="")
            billed = manager.bill(stack.hub, PERIOD)
            bars.update(bar, total=1, completed=1, told=f"{billed} invoices" if billed else "billed before")
        _order_to_cash(bars, ends)


def _wait_for_orders(hub: Hub, deals: int, tell: Callable[[int], None]) -> None:
    """Waits until webhooks alone have provisioned every order; gives up after two minutes for the flow to find them."""
    for _ in range(240):
        with hub.database.reading() as work:
            known = len(work.find(Order))
        tell(known)
        if known >= deals:
            return
        time.sleep(0.5)


def _order_to_cash(bars: Progress, ends: Ends) -> None:
    """Starts the deployment and follows its stages."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.deployments import run_deployment

    texts = [text for flow, text in STAGES if ends is Ends.TIE_OUT or flow != "Recognise revenue"]
    tasks = [bars.add_task(text, total=1, told="", start=False) for text in texts]
    earning = Earning.NOW if ends is Ends.TIE_OUT else Earning.AT_CLOSE
    parameters = {"period": PERIOD, "earning": earning.value}
    run: Any = run_deployment("Order to cash/order-to-cash", parameters=parameters, timeout=0)
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        while True:
            stages = client.read_flow_runs(flow_run_filter=children, sort=FlowRunSort.START_TIME_ASC)
            for task, stage in zip(tasks, stages, strict=False):
                bars.start_task(task)
                done = stage.state is not None and stage.state.is_final()
                said = (stage.state.message or "") if done and stage.state else "running"
                bars.update(task, completed=int(done), told=_short(said))
                if done:
                    bars.stop_task(task)
            state = client.read_flow_run(UUID(str(run.id))).state
            if state is not None and state.is_final():
                if not state.is_completed():
                    bars.console.print(f"[yellow]order to cash ended {state.name}:[/] {state.message}")
                return
            time.sleep(0.5)


def credit_calls(hub: Hub) -> str:
    """Gives half of its calls back on the first invoice that two tax engines taxed, in every system; what that was."""
    with hub.database.reading() as work:
        invoices = sorted(work.find(Invoice), key=lambda one: one.id)
    invoice = next(one for one in invoices if len(by_engine(hub, one)) > 1)
    calls = next(line for line in invoice.lines if line.tax_code == TELECOM and line.amount.minor > 1)
    half = Money(calls.amount.minor // 2, invoice.currency)
    note = credit_invoice(hub, invoice.id, {calls.position: half}, "Calls that dropped", invoice.invoice_date)
    for step in (deliver_all, finalise_invoices, deliver_all):
        step(hub)
    return f"Credit note {note.id}: {dollars(note.subtotal)} of calls and {dollars(note.tax)} of their taxes go back"


def _close(stack: Stack, console: Console, *, headless: bool) -> None:
    """Closes the month. A person approves it in the UI; where nobody sits there, the operator who started the demo."""
    from prefect import get_client
    from prefect.deployments import run_deployment

    parameters = {"period": PERIOD, "started_by": operator()}
    run: Any = run_deployment("Close the books/close", parameters=parameters, timeout=0)
    told = answered = False
    with get_client(sync_client=True) as client, console.status("Closing the month"):
        while True:
            state = client.read_flow_run(UUID(str(run.id))).state
            if state is not None and state.is_final():
                break
            waits = state is not None and state.is_paused()
            if waits and headless and not answered:
                answered = answer_waiting_runs(PERIOD, "", Verdict.APPROVE, operator(), "approved by the demo") > 0
            elif waits and not headless and not told:
                told = True
                console.print(f"The close waits for you: {stack.prefect_ui}/runs/flow-run/{run.id} > Resume")
            time.sleep(1)
    console.print(f"[bold]Close {PERIOD}:[/] {state.message}")
    if state.is_completed():
        folder = folder_of(stack.hub, standing(stack.hub, PERIOD))
        console.print(f"  pack  {folder}\n  uv run tieout close verify {os.path.relpath(folder)}")


def _short(text: str) -> str:
    return text if len(text) <= 70 else text[:69] + "…"


def _objects(vendors: Mapping[str, str]) -> dict[tuple[str, str, str], str]:
    """(vendor, kind, object's number in its kind) to a digest of the object."""
    found = {}
    for vendor, url in vendors.items():
        for kind in _control(url, "objects"):
            for number, item in enumerate(_control(url, f"objects/{kind}")):
                name = str(item.get("id", item.get("Id", item.get("internalId", number))))
                found[vendor, kind, name] = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
    return found


def _changes(before: Mapping[Any, str], after: Mapping[Any, str]) -> dict[str, int]:
    """What a run did to the vendors' objects."""
    return {
        "created": len(after.keys() - before.keys()),
        "changed": sum(before[key] != after[key] for key in before.keys() & after.keys()),
        "deleted": len(before.keys() - after.keys()),
        "unchanged": sum(before[key] == after[key] for key in before.keys() & after.keys()),
    }


def _hops(hub: Hub) -> list[tuple[str, str, Money]]:
    """How much money stands at each hop of the month: where, what, how much."""
    currency = hub.settings.legal_entity.currency
    with hub.database.reading() as work:
        orders, rated = work.find(Order), work.find(RatedLine, billing_period=PERIOD)
        invoices = work.find(Invoice, billing_period_start=DateSpan.month(PERIOD).start)
        payments, settlements = work.find(Payment, status="succeeded"), work.find(Settlement)
        balances = work.sums.ledger_balances()
    posted = total((balance for balance in balances.values() if balance.minor > 0), currency)
    return [
        ("CRM", f"{len(orders)} orders won", total((order.total for order in orders), currency)),
        ("rating", f"{len(rated)} rated lines", total((line.amount for line in rated), currency)),
        ("billing", f"{len(invoices)} invoices before tax", total((one.subtotal for one in invoices), currency)),
        ("tax", "tax on them", total((one.tax for one in invoices), currency)),
        ("billing", "invoiced with tax", total((one.total for one in invoices), currency)),
        ("gateway", f"{len(payments)} payments", total((one.amount for one in payments), currency)),
        ("gateway", "fees", total((one.fee for one in settlements), currency)),
        ("ledger", "debit balances in the general ledger", posted),
    ]


def _counts(hub: Hub, vendors: Mapping[str, str]) -> dict[str, Any]:
    with hub.database.reading() as work:
        ours: dict[str, Any] = {"inbox": work.inbox.counts(), "outbox": work.outbox.counts()}
        ours["errors_open"] = len(work.desk.open())
    return {**ours, "vendors": {name: _control(url, "objects") for name, url in vendors.items()}}


def _answer(
    stack: Stack, lines: list[TieLine], changes: Mapping[str, int], closed: bool, seconds: float
) -> dict[str, Any]:
    hops = [{"where": where, "what": what, "amount": str(money.amount)} for where, what, money in _hops(stack.hub)]
    return {
        "period": PERIOD,
        "closed": closed,
        "seconds": round(seconds, 1),
        "stages": _counts(stack.hub, stack.vendors),
        "money": hops,
        "vendor_objects": dict(changes),
        "tie_out": [row(line) for line in lines],
        "prefect_ui": stack.prefect_ui,
    }


def _show(
    console: Console, stack: Stack, lines: list[TieLine], changes: Mapping[str, int], closed: bool, seconds: float
) -> None:
    money = Table(title="Money at each hop", title_justify="left", header_style="bold")
    for head, side in (("where", "left"), ("what", "left"), ("amount", "right")):
        money.add_column(head, justify=side)  # type: ignore[arg-type]
    for where, what, amount in _hops(stack.hub):
        money.add_row(where, what, dollars(amount))
    console.print(money)
    ties = Table(title=f"Tie-out {PERIOD}", title_justify="left", header_style="bold")
    for head in ("tie", "left", "right", "difference", "unit", "records"):
        ties.add_column(head, justify="left" if head in ("tie", "unit") else "right")
    for shown in map(row, lines):
        good = shown["breaks"] == "0" and not _nonzero(shown["difference"])
        style = "green" if good else "red"
        ties.add_row(
            shown["tie"],
            _grouped(shown["left"]),
            _grouped(shown["right"]),
            f"[{style}]{shown['difference']}[/]",
            shown["unit"],
            shown["records"],
        )
    console.print(ties)
    console.print(
        f"vendor systems: {changes['created']} created, {changes['changed']} changed, "
        f"{changes['unchanged']} unchanged, {changes['deleted']} deleted; {seconds:.0f} s"
    )
    verdict = "[bold green]Every tie closes at 0.00.[/]" if closed else "[bold red]Not every tie closes.[/]"
    console.print(
        Panel(
            f"{verdict}\n\nPrefect UI  {stack.prefect_ui}\n"
            "Look first at Runs > “order to cash 2026-10” and its artifacts, then at Deployments.\n"
            f"Then, in another terminal:  export {CONFIG_VARIABLE}={stack.hub.settings.state_folder / 'tieout.toml'}\n"
            f"  uv run tieout explain JE-INV-{PERIOD}-A-0001-2     (a journal line, back to quote and usage)\n"
            "  uv run tieout errors list",
            expand=False,
        )
    )


def _grouped(number: str) -> str:
    """1234.50 as 1,234.50."""
    return f"{Decimal(number):,}"


def _nonzero(text: str) -> bool:
    """Whether a number written as text is not zero."""
    return bool(text.strip("-0."))
