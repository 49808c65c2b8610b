"""A file of posting rules, read and checked: all that is wrong is told at once, with its line."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from core.errors import Misconfigured
from core.ledger import JournalEntry, LedgerAccount, Via
from core.money import Money
from core.posting_rules import ALWAYS, EVENTS, Example, PostingRules, Rule, RulesFile
from core.strict_yaml import Document, Route, YamlProblem, read

DEFAULT = Path(__file__).with_name("posting_rules.yaml")


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """What is wrong in a file of posting rules; ``line`` counts from 1."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field or 'file'}: {self.message}"


class BrokenRules(Misconfigured):
    """A file of posting rules does not load; ``problems`` holds all that is wrong."""

    def __init__(self, file: Path, problems: Sequence[RuleProblem]) -> None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{file}: {len(problems)} problems in the posting rules\n{listed}")
        self.problems = tuple(problems)


def load_posting_rules(file: Path = DEFAULT) -> PostingRules:
    """The posting rules of a file, checked. BrokenRules (a Misconfigured) names ALL that is wrong, with its line."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the posting rules at {file} cannot be read: {error.strerror}") from None
    rules, problems = inspect_posting_rules(content, file.name)
    if rules is None or problems:
        raise BrokenRules(file, problems)
    return rules


def inspect_posting_rules(content: bytes, file: str) -> tuple[PostingRules | None, list[RuleProblem]]:
    """The rules in ``content`` (None where they cannot even be read), and what is wrong in them, by line."""
    try:
        document = read(content)
    except YamlProblem as problem:
        return None, [RuleProblem(file, problem.line, "", str(problem))]
    try:
        data = RulesFile.model_validate(document.data)
    except ValidationError as error:
        return None, _sorted(_shape_problems(error, document, file))
    rules = PostingRules(
        chart=tuple(LedgerAccount(**dict(one)) for one in data.chart),
        segments=data.segments,
        rules=tuple(data.rules),
        examples=tuple(data.examples),
        text=content.decode(),
        version=hashlib.sha256(content).hexdigest()[:12],
    )
    found = [*_chart_problems(rules), *_rule_problems(rules), *_coverage_problems(rules)]
    found = found or list(_example_problems(rules)) or list(_untested_problems(rules))
    return rules, _sorted(
        RuleProblem(file, document.line(route), ".".join(map(str, route)), message) for route, message in found
    )


def _sorted(problems: Iterable[RuleProblem]) -> list[RuleProblem]:
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.line)


def _shape_problems(error: ValidationError, document: Document, file: str) -> Iterator[RuleProblem]:
    for details in error.errors(include_url=False):
        said = {"extra_forbidden": "is not known here", "missing": "is required here"}
        message = said.get(details["type"], f"{details['msg']}, got {details['input']!r}")
        yield RuleProblem(file, document.line(details["loc"]), ".".join(map(str, details["loc"])), message)


Found = tuple[Route, str]


def _closest(word: str, known: Iterable[str], what: str) -> str:
    """``there is no ... x; did you mean y?``"""
    words = sorted(known)
    near = get_close_matches(word, words, 1)
    return f"there is no {what} {word!r}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(words)}")


def _twice(values: Sequence[str], place: str, name: str) -> Iterator[Found]:
    counts = Counter(values)
    for i, value in enumerate(values):
        if counts[value] > 1 and value in values[:i]:
            yield (place, i, name), f"{value} stands there twice"


def _chart_problems(rules: PostingRules) -> Iterator[Found]:
    codes = {account.code for account in rules.chart}
    for i, account in enumerate(rules.chart):
        if account.revalued_in and account.revalued_in not in codes - {account.code}:
            yield ("chart", i, "revalued_in"), _closest(account.revalued_in, codes - {account.code}, "other account")
    yield from _twice([account.code for account in rules.chart], "chart", "code")
    yield from _twice([rule.id for rule in rules.rules], "rules", "id")


def _rule_problems(rules: PostingRules) -> Iterator[Found]:
    codes = {account.code for account in rules.chart}
    for i, rule in enumerate(rules.rules):
        here: Route = ("rules", i)
        if rule.event not in EVENTS:
            yield (*here, "event"), _closest(rule.event, EVENTS, "event")
            continue
        if rule.part not in EVENTS[rule.event]:
            yield (*here, "part"), _closest(rule.part, EVENTS[rule.event], f"part of {rule.event}")
            continue
        shape = EVENTS[rule.event][rule.part]
        knows = shape.knows | ALWAYS
        for name, wanted in rule.when.items():
            if name not in knows:
                yield (*here, "when", name), _closest(name, knows, f"thing that {rule.part} of {rule.event} knows:")
            elif (name == "deferred") != isinstance(wanted, bool):
                yield (*here, "when", name), "deferred is true or false, everything else is text"
        for name in ("debit", "credit"):
            role = getattr(rule, name)
            if role in shape.names or role in codes or len(rules.accounts(role)) == 1:
                continue
            if rules.accounts(role):
                message = f"{role} is the role of several accounts; name one of {', '.join(rules.accounts(role))}"
            else:
                message = _closest(role, {*(a.role for a in rules.chart), *shape.names}, "account or role")
            yield (*here, name), message
        if rule.debit == rule.credit:
            yield (*here, "credit"), "debit and credit are the same account"
        for position, name in enumerate(rule.segments):
            if name not in rules.segments:
                yield (*here, "segments", position), _closest(name, rules.segments, "segment")
            elif (of := rules.segments[name].of) not in knows:
                yield (*here, "segments", position), f"{rule.part} of {rule.event} does not know its {of}"


def _coverage_problems(rules: PostingRules) -> Iterator[Found]:
    """Every piece of every event is booked exactly once on each way, whatever its parts know."""
    ways: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for i, rule in enumerate(rules.rules):
        if rule.event in EVENTS and rule.part in EVENTS[rule.event]:
            ways[rule.event][rule.via][rule.part].append(i)
    for event, parts in EVENTS.items():
        if event not in ways:
            yield ("rules",), f"nothing books {event}"
        pieces = {piece for name, shape in parts.items() for piece in shape.covers or {name}}
        for via, booked in ways[event].items():
            first = min(i for found in booked.values() for i in found)
            times = Counter(piece for name in booked for piece in parts[name].covers or {name})
            for piece in sorted(pieces):
                if times[piece] != 1:
                    often = "never" if not times[piece] else f"{times[piece]} times"
                    yield ("rules", first), f"{piece} of {event} is booked {often} as {via}; book it once"
            for name, found in booked.items():
                *others, last = found
                if rules.rules[last].when:
                    yield ("rules", last, "when"), f"the last rule for {name} of {event} takes what is left: no when"
                for i in others:
                    if not rules.rules[i].when:
                        yield ("rules", i), f"takes every {name} of {event}, so that the rules below it never do"


def _example_problems(rules: PostingRules) -> Iterator[Found]:
    for i, example in enumerate(rules.examples):
        here: Route = ("examples", i)
        if example.event not in EVENTS:
            yield (*here, "event"), _closest(example.event, EVENTS, "event")
            continue
        wrong = list(_wrong_parts(here, example))
        yield from wrong
        if not wrong:
            yield from _wrong_outcome(rules, here, example)


def _wrong_parts(here: Route, example: Example) -> Iterator[Found]:
    shapes = EVENTS[example.event]
    for number, told in enumerate(example.parts):
        at: Route = (*here, "parts", number)
        if told.part not in shapes:
            yield (*at, "part"), _closest(told.part, shapes, f"part of {example.event}")
            continue
        shape = shapes[told.part]
        for name in (told.model_extra or {}).keys() - shape.knows - shape.names:
            yield (*at, name), _closest(name, shape.knows | shape.names, f"thing that {told.part} knows:")
        for name in shape.names - (told.model_extra or {}).keys():
            yield at, f"{told.part} of {example.event} names its {name} account; write {name}: <code>"


def _wrong_outcome(rules: PostingRules, here: Route, example: Example) -> Iterator[Found]:
    try:
        entries = {entry.via: entry for entry in rules.book(example.fact())}
    except ValueError as error:
        yield (*here, "parts"), str(error)
        return
    for via, expected in ((Via.DOCUMENT, example.document), (Via.JOURNAL, example.journal)):
        got = sides(entries.get(via))
        for side, wanted in (("debit", expected.debit), ("credit", expected.credit)) if expected else ():
            if wanted != got[side]:
                yield (*here, via.value, side), f"expects {wanted}, and the rules book {got[side]}"
        if expected is None and via in entries:
            yield here, f"the rules also book a {via.value}: {got}"
    for code, wanted in example.segments.items():
        lines = [line for entry in entries.values() for line in entry.lines]
        told = [line.segments for line in lines if line.ledger_account == code]
        if wanted not in told:
            yield (*here, "segments", code), f"expects {wanted}, and the rules give {told}"


def sides(entry: JournalEntry | None) -> dict[str, dict[str, str]]:
    """By side and ledger account, what an entry comes to."""
    sums: dict[str, dict[str, Money]] = {"debit": {}, "credit": {}}
    for line in entry.lines if entry else ():
        side, amount = ("debit", line.debit) if line.debit is not None else ("credit", line.credit)
        assert amount is not None
        before = sums[side].get(line.ledger_account)
        sums[side][line.ledger_account] = before + amount if before else amount
    return {side: {code: str(amount.amount) for code, amount in found.items()} for side, found in sums.items()}


def _untested_problems(rules: PostingRules) -> Iterator[Found]:
    used = {rule.id for example in rules.examples for rule in _used(rules, example)}
    for i, rule in enumerate(rules.rules):
        if rule.id not in used:
            yield ("rules", i), f"no example uses {rule.id}; add one, so that it is known what it does"


def _used(rules: PostingRules, example: Example) -> Iterator[Rule]:
    fact = example.fact()
    for part in fact.parts:
        for way in (*Via, "either"):
            if rule := rules.rule(fact, way, part):
                yield rule
