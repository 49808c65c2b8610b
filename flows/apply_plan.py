"""Apply: performs exactly the steps of a plan that write, and refuses those whose ground has changed since."""

from __future__ import annotations

from collections.abc import Iterator

from core.audit import Act
from core.errors import Misconfigured
from core.plan import WRITES, Plan
from flows.context import Hub
from flows.deliver import Delivery
from flows.plan_delivery import FLOW, row, tell
from flows.report import Report, counted, sum_by_currency


def apply_plan(hub: Hub, plan: Plan, who: str) -> Report:
    """Performs the steps of a plan that write, once; what changed since the plan was made is refused, not sent.

    Misconfigured when the plan is of another flow.
    """
    if plan.flow != FLOW:
        raise Misconfigured(f"this plan is of {plan.flow}; only plans of {FLOW} can be applied")
    report = Report("", counts={"planned": 0, "done": 0, "failed": 0, "postponed": 0, "refused": 0})
    for system, digests in _by_system(plan):
        delivery = Delivery(hub, system, who=who)
        delivery.run_planned(digests)
        proved, refused = {command.key for command, _ in delivery.done}, delivery.changed
        report.failures += delivery.failures
        for name, number in (
            ("planned", len(digests)),
            ("done", len(proved)),
            ("failed", len(delivery.failures)),
            ("postponed", max(0, len(digests) - len(proved) - len(refused) - len(delivery.failures))),
            ("refused", len(refused)),
        ):
            report.counts[name] += number
        for step in plan.steps:
            if step.key in digests:
                done = "done" if step.key in proved else "changed since" if step.key in refused else "not done"
                report.rows.append({**row(step), "done": done})
        report.money += [command.money for command, _ in delivery.done if command.money]
    report.money = sum_by_currency(report.money)
    count = report.counts
    report.headline = f"{count['done']} of {counted(count['planned'], 'step')} done, {count['refused']} refused"
    tell(hub, plan, Act.PLAN_APPLIED, who, count)
    return report


def _by_system(plan: Plan) -> Iterator[tuple[str, dict[str, str]]]:
    """Each system with the keys and digests of what is to be written there, in the order of the plan."""
    for system in dict.fromkeys(step.system for step in plan.steps):
        digests = {step.key: step.digest for step in plan.steps if step.system == system and step.verb in WRITES}
        if digests:
            yield system, digests
