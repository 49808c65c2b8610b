"""Runs the stories beside this file: what is sold, billed and reached, against what each month earns, worked by hand.

A story is one YAML file. ``book`` is an excerpt of a price book, ``orders`` are won deals (line ``L12`` is the 2nd of
the first order; one with ``amends`` is known from the month of ``known``, else of its start), ``milestones`` says which
line was reached when. ``allocated`` tells the share of each line of the first orders. Of each month: ``credit`` gives
back amounts by position of the month's invoice line; ``allocated`` is what stands allocated then; ``books`` is what the
month moves on each ledger account, debit above zero, receivables and billing clearing left out; ``deferred`` and
``balance`` stand at its end. Every month from the first to the last is billed and earned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.scenarios.revenue.seller import Seller, deal, months
from tests.scenarios.told import Told, usd

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_each_month_earns_what_was_worked_by_hand(path: Path, tmp_path: Path) -> None:
    for _ in told(yaml.safe_load(path.read_text()), tmp_path):
        pass


def told(story: Told, folder: Path) -> Iterator[tuple[Seller, str]]:
    """Tells a story month by month, and gives the seller after each."""
    seller = Seller(folder, story["book"])
    orders = [(deal(number, one), one) for number, one in enumerate(story["orders"], 1)]
    waiting = [(str(one.get("known", f"{one['start_on']:%Y-%m}")), order) for order, one in orders]
    first, *_, last = [*sorted(story["months"]), max(story["months"])]
    for order in [order for _, order in waiting if order.amends is None]:
        seller.take(order)
    assert seller.allocated() == story.get("allocated", seller.allocated())
    for month in months(first, last):
        expected = story["months"].get(month)
        for order in [order for known, order in waiting if order.amends is not None and known == month]:
            seller.take(order)
        given = {int(at): usd(amount) for at, amount in (expected or {}).get("credit", {}).items()}
        if (invoice := seller.bill(month)) and given:
            seller.give_back(invoice, given, invoice.invoice_date, "Given back")
        for line, on in story.get("milestones", {}).items():
            if f"{on:%Y-%m}" == month:
                seller.reach(line, on)
                assert seller.reach(line, on) == []
        seller.earn(month)
        deferred, balance = seller.tied(month)
        if expected is not None:
            assert seller.moved(month) == expected["books"], month
            assert seller.allocated() == expected.get("allocated", seller.allocated()), month
            assert str(deferred.amount) == expected.get("deferred", "0.00"), month
            assert str(balance.amount) == expected.get("balance", "0.00"), month
        yield seller, month
    seller.close()


def test_a_wrong_figure_in_a_story_is_found(tmp_path: Path) -> None:
    """The runner itself is tried: one cent more in a story is an error."""
    story = (Path(__file__).parent / "phone_free_with_service.yaml").read_text().replace('"137.14"', '"137.15"')
    with pytest.raises(AssertionError):
        list(told(yaml.safe_load(story), tmp_path))


def test_a_story_ends_at_zero() -> None:
    """What stands on the balance of a contract at the end of its story is nothing."""
    for path in STORIES:
        *_, last = yaml.safe_load(path.read_text())["months"].values()
        assert last.get("balance", "0.00") == "0.00", path
