"""The book of mappings: every file of a folder, checked, compiled once, found by what it carries."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import MappingError, Parked
from core.mapping.compiler import Compiled, compile_spec
from core.mapping.examples import Failure, run_examples
from core.mapping.paths import spell
from core.mapping.records import RECORDS
from core.mapping.shapes import Kind, Shape
from core.mapping.site import Refs, Scope, Take
from core.mapping.spec import (
    OPERATORS,
    Each,
    Example,
    ListOf,
    Lookup,
    MoneyOf,
    Object,
    Operator,
    Spec,
    SumOf,
    Table,
)
from core.mapping.values import Unfit, shown
from core.noun import Noun
from core.ports import ExternalKey, Payload
from core.strict_yaml import Document, Route, YamlProblem, read

Direction = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file: ``file`` relative to the folder, ``line`` from 1, ``field`` the route in the file."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field or 'file'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One file, compiled: one record, one system, one direction. ``version`` is the content hash (12 hex digits)
    of the file and the tables it uses."""

    file: str
    spec: Spec
    version: str
    noun: type[Noun]
    compiled: Compiled = field(repr=False)
    tables: ReadOnly[str, Table] = field(repr=False)
    only_create_fields: frozenset[str] = frozenset()
    """Target fields that are not sent when the object exists already, as dotted names."""
    owners: ReadOnly[str, str] = field(default_factory=dict)
    """Whose value wins (``hub`` or ``them``), by dotted target field; only where the file says it."""

    @property
    def system(self) -> str:
        return self.spec.system

    @property
    def record(self) -> str:
        return self.spec.record

    @property
    def resource(self) -> str:
        return self.spec.resource

    @property
    def direction(self) -> Direction:
        return self.spec.direction

    @property
    def examples(self) -> Sequence[Example]:
        return self.spec.examples

    def out(self, noun: Noun, refs: Refs) -> dict[str, Any]:
        """The noun in the other system's field names. Parked when an id is not known yet; MappingError."""
        self._must_be("out", noun)
        return self._run(self.compiled.fields, noun, refs)  # type: ignore[no-any-return]

    def key(self, noun: Noun) -> ExternalKey:
        """Our key of the noun at the other system."""
        self._must_be("out", noun)
        assert self.spec.key is not None
        return ExternalKey(self.spec.key.to, self._run(self.compiled.key, noun, _no_refs))

    def into(self, payload: Payload) -> Noun:
        """The noun in a payload, checked. MappingError; Parked; TieBroken when its own figures do not agree."""
        if self.direction != "in":
            raise MappingError("the mapping goes out, not in", file=self.file, field="direction")
        if not isinstance(payload, ReadOnly):
            raise MappingError("a payload is an object with fields", file=self.file, field="payload", value=payload)
        fields = self._run(self.compiled.fields, payload, _no_refs)
        try:
            return self.noun.model_validate(fields)
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            more = f" (and {len(others)} more)" if others else ""
            raise MappingError(
                f"{first['msg']}, got {shown(first['input'])}{more}",
                file=self.file,
                field=spell(first["loc"]) or self.record,
                value=first["input"],
            ) from None

    def run_examples(self) -> list[Failure]:
        """Runs the file's own examples."""
        return list(run_examples(self))

    def _must_be(self, direction: Direction, noun: Noun) -> None:
        if self.direction != direction:
            raise MappingError(f"the mapping goes {self.direction}, not {direction}", file=self.file, field="direction")
        if not isinstance(noun, self.noun):
            raise MappingError(f"maps {self.noun.__name__}, not {type(noun).__name__}", file=self.file, field="record")

    def _run(self, take: Take, item: object, refs: Refs) -> Any:
        try:
            return take(Scope(item, refs))
        except Unfit as unfit:
            if unfit.waits_for:
                raise Parked(f"{self.file}: {unfit.field}: {unfit}", waits_for=unfit.waits_for) from None
            value = "" if unfit.value is None else f", got {shown(unfit.value)}"
            raise MappingError(f"{unfit}{value}", file=self.file, field=unfit.field, value=unfit.value) from None


def _no_refs(_system: str, _resource: str, _key: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class MappingBook:
    """All mappings of a folder."""

    folder: Path
    mappings: tuple[Mapping, ...]

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self.mappings)

    def known(self, system: str, record: str, direction: Direction, resource: str | None = None) -> list[Mapping]:
        """The mappings of a record at a system in a direction; ``resource``: that one alone."""
        return [
            mapping
            for mapping in self.mappings
            if (mapping.system, mapping.record, mapping.direction) == (system, record, direction)
            and resource in (None, mapping.resource)
        ]

    def find(self, system: str, record: str, direction: Direction, resource: str | None = None) -> Mapping:
        """The one mapping of a record at a system in a direction. MappingError when there is none, or several."""
        found = self.known(system, record, direction, resource)
        if len(found) == 1:
            return found[0]
        what = f"{record} {direction}" + (f" for {resource}" if resource else "")
        choice = ", ".join(mapping.resource for mapping in found)
        message = f"several mappings carry {what}: say which resource ({choice})" if found else f"no mapping of {what}"
        raise MappingError(message, file=str(self.folder / system), field="record", value=record)


class BrokenBook(MappingError):
    """Some files of the folder do not load; ``problems`` holds them all."""

    def __init__(self, folder: Path, problems: Sequence[Problem]) -> None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problems\n{listed}", file=str(folder), field="mappings")
        self.problems = tuple(problems)


def load_book(folder: Path, systems: Collection[str] | None = None) -> MappingBook:
    """Loads, checks and compiles every mapping under ``folder``. BrokenBook (a MappingError) names ALL problems.

    ``systems``: the systems in use; a broken file of another one does no harm. None: all of them.
    """
    book, problems = inspect_book(folder, systems)
    if problems:
        raise BrokenBook(folder, problems)
    return book


def load_file(file: Path, folder: Path) -> Mapping:
    """One mapping file from anywhere, with the tables of ``folder``. BrokenBook names all its problems."""
    shelf = _Folder(folder)
    shelf.load_tables()
    mapping = shelf.mapping(file)
    if mapping is None:
        raise BrokenBook(file, [problem for problem in shelf.problems if problem.file == shelf.name(file)])
    return mapping


def read_mapping(content: bytes, folder: Path) -> Mapping:
    """A mapping that stands in no file yet, with the tables of ``folder``. BrokenBook names all its problems."""
    with NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        return load_file(Path(file.name), folder)


def inspect_book(folder: Path, systems: Collection[str] | None = None) -> tuple[MappingBook, list[Problem]]:
    """The mappings that load, and what is wrong with the others."""
    shelf = _Folder(folder)
    shelf.load_tables()
    files = [path for path in sorted(folder.glob("*/*.yaml")) if systems is None or path.parent.name in systems]
    mappings = [mapping for path in files if (mapping := shelf.mapping(path))]
    shelf.check_unique(mappings)
    return MappingBook(folder, tuple(mappings)), sorted(
        dict.fromkeys(shelf.problems), key=lambda problem: (problem.file, problem.line)
    )


@dataclass
class _Folder:
    root: Path
    tables: dict[str, Table] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def load_tables(self) -> None:
        for path in sorted((self.root / "tables").glob("*.yaml")):
            content, document = self.document(path)
            table = self.model(Table, path, document)
            if table is None:
                continue
            if table.name != path.stem:
                self.problem(path, document, ("name",), f"the file is called {path.stem}; call the table so")
            self.tables[table.name], self.contents[table.name] = table, content

    def mapping(self, path: Path) -> Mapping | None:
        if path.parent.name == "tables":
            return None
        content, document = self.document(path)
        spec = self.model(Spec, path, document)
        if spec is None:
            return None
        before = len(self.problems)
        if spec.system != path.parent.name and path.is_relative_to(self.root):
            self.problem(path, document, ("system",), f"the file stands in the folder {path.parent.name}")
        noun = RECORDS.get(spec.record)
        if noun is None:
            known = ", ".join(RECORDS)
            self.problem(path, document, ("record",), f"{spec.record} is no record; there is {known}")
            return None
        compiled = compile_spec(spec, Shape(Kind.OBJECT, of=noun), self.tables)
        for route, message in compiled.problems:
            self.problem(path, document, route, message)
        if len(self.problems) > before:
            return None
        used = sorted({op.table for _, op in operators(spec.fields) if isinstance(op, Lookup)})
        digest = hashlib.sha256(b"\0".join([content, *(self.contents[name] for name in used)]))
        tables = {name: self.tables[name] for name in used}
        named = list(operators(spec.fields))
        return Mapping(
            self.name(path),
            spec,
            digest.hexdigest()[:12],
            noun,
            compiled,
            tables,
            frozenset(name for name, operator in named if operator.only_create),
            {name: operator.owner for name, operator in named if operator.owner},
        )

    def check_unique(self, mappings: Sequence[Mapping]) -> None:
        seen: dict[tuple[str, ...], str] = {}
        for mapping in mappings:
            identity = (mapping.system, mapping.record, mapping.direction, mapping.resource)
            if identity in seen:
                self.problems.append(Problem(mapping.file, 1, "", f"carries the same as {seen[identity]}"))
            seen[identity] = mapping.file

    def document(self, path: Path) -> tuple[bytes, Document]:
        content = path.read_bytes()
        try:
            return content, read(content)
        except YamlProblem as problem:
            self.problems.append(Problem(self.name(path), problem.line, "", str(problem)))
            return content, Document(None, {})

    def model(self, kind: type[Any], path: Path, document: Document) -> Any:
        """The document as a checked model; None after a problem."""
        if not document.lines:
            return None
        try:
            return kind.model_validate(document.data)
        except ValidationError as error:
            for details in error.errors(include_url=False, include_context=True):
                route = tuple(part for part in details["loc"] if not str(part).startswith("<"))
                self.problem(path, document, route, _plain(details))
            return None

    def problem(self, path: Path, document: Document, route: Route, message: str) -> None:
        self.problems.append(Problem(self.name(path), document.line(route), spell(route), message))

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name


def _plain(details: ErrorDetails) -> str:
    """A problem of the grammar in the words of the grammar."""
    match details["type"]:
        case "union_tag_invalid":
            found = details["ctx"]["tag"].strip("<>")
            known = ", ".join(OPERATORS)
            if found in ("none", "word"):
                return f"needs one operator: {known}"
            return f"needs ONE operator, and has {found}"
        case "extra_forbidden":
            return "is not known here"
        case "missing":
            return "is required here"
        case "value_error":
            return str(details["msg"]).removeprefix("Value error, ")
        case _:
            return f"{details['msg']}, got {shown(details['input'])}"


def operators(fields: ReadOnly[str, Operator], above: str = "") -> Iterator[tuple[str, Operator]]:
    """Every operator of a mapping with the dotted name of its target field, alternatives and list items included."""
    for name, operator in fields.items():
        yield from _operators(operator, f"{above}{name}")


def _operators(one: object, where: str) -> Iterator[tuple[str, Operator]]:
    while isinstance(one, Operator):
        yield where, one
        match one:
            case Each(fields=inner) | Object(object=inner):
                yield from operators(inner, f"{where}.")
            case ListOf(list=items):
                for place, item in enumerate(items):
                    yield from _operators(item, f"{where}[{place}]")
            case SumOf(of=item) | MoneyOf(currency=Operator() as item):
                yield from _operators(item, where)
            case _:
                pass
        one = one.otherwise
