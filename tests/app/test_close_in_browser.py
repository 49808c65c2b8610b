"""A person closes a month in the Prefect UI: starts it, reads the amounts, types an approval, gets the certificate.

The browser is a chromium that the machine has (``TIEOUT_CHROMIUM``, or on the path); the driver is in the dependency
group ``browser``: ``uv run --group browser pytest tests/app/test_close_in_browser.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo.run import served
from core import pack
from core.close import Decision
from flows import close as stages
from flows.context import Hub
from flows.pack import folder_of
from tests.app.machine import cut_power, month_before_its_close
from tests.flows.world import PERIOD

sync_api = pytest.importorskip("playwright.sync_api", reason="skipped: no browser driver; add `--group browser`")
CHROMIUM = os.environ.get("TIEOUT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="skipped: no chromium on this machine (TIEOUT_CHROMIUM names one)"),
]

#: Milliseconds that a person would wait for a page, and seconds for a run, on a machine with much else to do.
PATIENCE, LONGEST = 60_000, 240
#: Milliseconds in which the form takes over what was typed.
A_MOMENT = 1000


@pytest.fixture
def page() -> Iterator[sync_api.Page]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.mark.parametrize("stack", ["salesforce", "hubspot", "xero"])
def test_a_person_closes_the_month_in_the_prefect_ui(stack: str, page: sync_api.Page, tmp_path: Path) -> None:
    """On NetSuite, on QuickBooks, and on Xero."""
    with month_before_its_close(tmp_path, stack) as hub:
        with served(tmp_path) as machine:
            start(page, machine.prefect_ui)
            approve(page, machine.prefect_ui)
        expect_certificate(hub)


def test_a_close_that_waited_while_the_power_was_cut_is_approved_later(page: sync_api.Page, tmp_path: Path) -> None:
    """The run waits in the UI of the machine that was started again; nothing is asked twice."""
    with month_before_its_close(tmp_path, "salesforce") as hub:
        with served(tmp_path) as machine:
            start(page, machine.prefect_ui)
            cut_power(machine)
        with served(tmp_path) as machine:
            approve(page, machine.prefect_ui)
        expect_certificate(hub)


def start(page: sync_api.Page, ui: str) -> None:
    """Starts the close by hand, and waits until it asks for approval."""
    page.goto(f"{ui}/deployments")
    page.get_by_role("link", name="close", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Quick run").click()
    send(page, page.get_by_role("dialog").get_by_role("button", name="Run", exact=True), "/create_flow_run")
    page.goto(f"{ui}/runs")
    wait_for(page, "waits for approval")


def approve(page: sync_api.Page, ui: str) -> None:
    """Reads the preview pack and the amounts, answers the form, and opens the certificate."""
    page.goto(f"{ui}/runs")
    page.get_by_role("link", name=re.compile("waits for approval")).first.click()
    page.get_by_text("Artifacts", exact=True).click()
    for table in ("journals", "trial-balance", "roll-forwards", "ties"):
        page.get_by_text(f"close-2026-10-{table}", exact=True).last.wait_for()
    page.get_by_role("button", name="Resume").first.click()
    form = page.get_by_role("dialog")
    form.get_by_text("3 journals, $734.20").wait_for()
    shown = form.inner_text()
    assert {"2400 Deferred revenue", "734.20", "407.68", "326.52"} <= set(re.split(r"[\t\n]", shown))
    form.locator(".p-select-button__control").focus()
    page.keyboard.press("Space")
    page.locator(".p-select-option").filter(has_text="approve").click()
    who, reason = form.locator("textarea").all()
    who.fill("Anna Adler")
    reason.fill("agrees with the schedules")
    page.wait_for_timeout(A_MOMENT)
    assert (who.input_value(), reason.input_value()) == ("Anna Adler", "agrees with the schedules")
    send(page, form.get_by_role("button", name="Submit"), "/resume")
    form.wait_for(state="hidden")
    wait_for(page, "close 2026-10: closed and certified: 3 journals")
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text("close-2026-10", exact=True).click()
    page.get_by_text("tieout close verify").wait_for()
    assert "Anna Adler" in page.inner_text("body")


def send(page: sync_api.Page, button: sync_api.Locator, call: str) -> None:
    """Presses a button that makes a call of the Prefect API; again where the UI says that something went wrong, since
    the database of the server, which is SQLite here, was busy."""
    for _ in range(3):
        with page.expect_response(lambda answer: answer.url.endswith(call)) as called:
            button.click()
        if called.value.status < 500:
            break
    assert called.value.ok, f"{call}: {called.value.status} {called.value.text()}"


def wait_for(page: sync_api.Page, text: str) -> None:
    """Waits until the run says so in its name; the page follows the run by itself."""
    deadline = time.monotonic() + LONGEST
    while page.get_by_text(re.compile(text)).count() == 0:
        assert time.monotonic() < deadline, f"the run never said {text!r}: {page.inner_text('body')[:2000]}"
        page.wait_for_timeout(2000)
        page.reload()
        page.wait_for_load_state("networkidle")


def expect_certificate(hub: Hub) -> None:
    """One person was asked once; the month is locked, and its pack is sound and names them."""
    close = stages.standing(hub, PERIOD)
    with hub.database.reading() as work:
        (decision,) = work.find(Decision)
        assert work.periods.locked("main") == {PERIOD}
    assert (decision.who, decision.reason, decision.via) == ("Anna Adler", "agrees with the schedules", "Prefect UI")
    assert pack.verify(folder_of(hub, close)) == []
    assert "Anna Adler" in Path(folder_of(hub, close), "summary.html").read_text()
