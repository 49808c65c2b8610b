"""Sessions: one database (SQLite or PostgreSQL), and units of work that commit whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    Connection,
    Select,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from core.accounts import Account, BillingTerms, ZoneChange
from core.allocation import Allocation
from core.amendments import Amendment
from core.cash import Application, CashReceipt
from core.close import Close, Decision, JournalDraft, Override, PeriodLock
from core.errors import Misconfigured, TieBroken
from core.fx import FxRate
from core.invoicing import (
    Adjustment,
    CarryForward,
    CreditApplication,
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceLine,
)
from core.ledger import JournalEntry, JournalLine
from core.noun import Noun
from core.obligations import ContractMovement, Milestone, Obligation
from core.orders import Order, OrderLine
from core.payments import Chargeback, Dispute, Payment, Refund, Settlement, WriteOff
from core.rating import RatedLine
from core.rating.alerts import Alert
from core.revenue import RecognitionPart
from core.store import rows
from core.store.audit import Audit
from core.store.border import Inbox, Outbox
from core.store.budget import Budgets
from core.store.codec import CHUNK, ByColumn, Columns, Shape, chunks, pages
from core.store.contracts import Contracts
from core.store.desk import Desk
from core.store.figures import Figures
from core.store.jobs import VendorJobs
from core.store.periods import Periods
from core.store.sides import Sides
from core.store.sums import Sums
from core.store.tie_outs import TieOuts
from core.subscriptions import Subscription, SubscriptionCharge
from core.tax import TaxDocument, TaxLine
from core.ties import Break
from core.units import UnitBalance, UnitGrant
from core.wallets import CreditGrant, CreditMovement

N = TypeVar("N", bound=Noun)

#: Where each noun lies.
SHAPES: dict[type[Noun], Shape[Any]] = {
    shape.noun: shape
    for shape in (
        Shape(Account, rows.AccountRow),
        Shape(BillingTerms, rows.BillingTermsRow),
        Shape(
            Order,
            rows.OrderRow,
            {"lines": Shape(OrderLine, rows.OrderLineRow)},
            {"account_id": lambda order: order.account.id},
        ),
        Shape(Subscription, rows.SubscriptionRow, {"charges": Shape(SubscriptionCharge, rows.SubscriptionChargeRow)}),
        Shape(
            RatedLine,
            rows.RatedLineRow,
            extra={"currency": lambda line: line.amount.currency},
        ),
        Shape(Invoice, rows.InvoiceRow, {"lines": Shape(InvoiceLine, rows.InvoiceLineRow)}),
        Shape(Adjustment, rows.AdjustmentRow),
        Shape(CarryForward, rows.CarryForwardRow),
        Shape(Dispute, rows.DisputeRow),
        Shape(
            CreditNote,
            rows.CreditNoteRow,
            {
                "lines": Shape(CreditNoteLine, rows.CreditNoteLineRow),
                "applied": Shape(CreditApplication, rows.CreditApplicationRow),
            },
        ),
        Shape(CreditGrant, rows.CreditGrantRow),
        Shape(CreditMovement, rows.CreditMovementRow),
        Shape(UnitGrant, rows.UnitGrantRow),
        Shape(UnitBalance, rows.UnitBalanceRow),
        Shape(Alert, rows.AlertRow),
        Shape(Amendment, rows.AmendmentRow),
        Shape(FxRate, rows.FxRateRow),
        Shape(ZoneChange, rows.ZoneChangeRow),
        Shape(TaxDocument, rows.TaxDocumentRow, {"lines": Shape(TaxLine, rows.TaxLineRow)}),
        Shape(Payment, rows.PaymentRow),
        Shape(CashReceipt, rows.CashReceiptRow),
        Shape(Application, rows.ApplicationRow),
        Shape(Settlement, rows.SettlementRow),
        Shape(Refund, rows.RefundRow),
        Shape(Chargeback, rows.ChargebackRow),
        Shape(WriteOff, rows.WriteOffRow),
        Shape(
            JournalEntry,
            rows.JournalEntryRow,
            {"lines": Shape(JournalLine, rows.JournalLineRow, extra={"detail": lambda line: line.detail})},
        ),
        Shape(RecognitionPart, rows.RecognitionRow),
        Shape(Obligation, rows.ObligationRow),
        Shape(Allocation, rows.AllocationRow),
        Shape(ContractMovement, rows.ContractMovementRow),
        Shape(Milestone, rows.MilestoneRow),
        Shape(Break, rows.BreakRow),
        Shape(Close, rows.CloseRow),
        Shape(JournalDraft, rows.JournalDraftRow),
        Shape(Decision, rows.CloseDecisionRow),
        Shape(Override, rows.CloseOverrideRow),
        Shape(PeriodLock, rows.PeriodLockRow),
    )
}

#: What a unit of work raises when the database fails it: away, full, read-only, locked.
StoreFailed = SQLAlchemyError

#: From so many rows on, a database is given them together, which is many times faster than one by one.
COPIED = 100

#: The act of billing a month, which rating it again waits for: the lines of a draft are not replaced beneath it.
BILLING = "bill rated lines"
#: The advisory lock that a migration holds.
_MIGRATING = 7_130_427
_MIGRATIONS = Path(__file__).parent / "migrations"

#: What makes a connection to PostgreSQL a consistent view.
_READS_ONLY: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Database:
    """One database. ``url``: a SQLAlchemy address, ``sqlite:///path`` or ``postgresql+psycopg://...``.

    Instants are stored in UTC. SQLite runs in WAL with full sync, and every unit of work takes the write lock at once,
    so that two workers never deadlock on an upgrade of a lock.
    """

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.url = url
        self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def work(self) -> Iterator[Work]:
        """A unit of work: committed at the end of the block, rolled back when it raises."""
        with self._writing() as connection:
            work = Work(connection)
            yield work
            work.audit.seal()

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """A consistent view that takes no write lock."""
        with self._engine.connect() as connection:
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(**_READS_ONLY)
            yield Work(connection)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def migrate(self) -> None:
        """Brings the schema to the newest version, one process at a time.

        Misconfigured when the database cannot be reached, or was made by a newer version of this product, and when
        several migrations follow the same one.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        try:
            with self._writing() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            raise Misconfigured(f"the database at {self._where} cannot be used: {type(error.orig).__name__}") from None
        except CommandError:
            heads = sorted(ScriptDirectory.from_config(config).get_heads())
            if len(heads) > 1:
                why = f"its migrations end in {' and '.join(heads)}, and each must follow another"
                raise Misconfigured(f"this copy of Tieout is not whole: {why}; install it anew") from None
            raise Misconfigured(f"the database at {self._where} was made by a newer version of Tieout") from None

    @property
    def _where(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self._engine.dispose()


#: Pages that a connection to SQLite keeps: 64 MB, so that a month's indexes are not read from the file again and again.
_CACHE = "cache_size=-65536"


def _tune_sqlite(engine: Any) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", _CACHE):
            connection.execute(f"PRAGMA {pragma}")


class Work:
    """What one unit of work can do with the stored nouns; the border and the sums have words of their own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def inbox(self) -> Inbox:
        return Inbox(self._connection)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self._connection)

    @cached_property
    def desk(self) -> Desk:
        return Desk(self._connection)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self._connection)

    @cached_property
    def budgets(self) -> Budgets:
        return Budgets(self._connection)

    @cached_property
    def jobs(self) -> VendorJobs:
        return VendorJobs(self._connection)

    @cached_property
    def periods(self) -> Periods:
        return Periods(self._connection)

    @cached_property
    def figures(self) -> Figures:
        return Figures(self._connection)

    @cached_property
    def tie_outs(self) -> TieOuts:
        return TieOuts(self._connection)

    @cached_property
    def sides(self) -> Sides:
        return Sides(self._connection)

    @cached_property
    def contracts(self) -> Contracts:
        return Contracts(self._connection)

    @cached_property
    def sums(self) -> Sums:
        return Sums(self._connection)

    def add(self, nouns: Iterable[N], **extra: Any) -> list[N]:
        """Stores nouns that are never changed afterwards, and gives back those that were new.

        One that is there already must be equal; TieBroken when it is not. ``extra``: columns for queries.
        """
        wanted = list(nouns)
        if not wanted:
            return []
        kind = type(wanted[0])
        known = {_id(noun): noun for noun in self.find(kind, id=[_id(noun) for noun in wanted])}
        fresh = []
        for noun in wanted:
            if _id(noun) not in known:
                known[_id(noun)] = noun
                fresh.append(noun)
            elif known[_id(noun)] != noun:
                raise TieBroken("a stored record never changes", subject=_id(noun), left=known[_id(noun)], right=noun)
        self._insert(SHAPES[kind], fresh, extra)
        return fresh

    def put(self, noun: Noun, **extra: Any) -> None:
        """Stores a noun, in place of what was stored under its id."""
        shape = SHAPES[type(noun)]
        table, ident = _table(shape), _id(noun)
        if self._connection.execute(_held(table), {"of_id": ident}).first() is None:
            self._insert(shape, [noun], extra)
            return
        self._connection.execute(update(table).where(table.c.id == ident), {**shape.columns(noun), **extra})
        for name, child in shape.children.items():
            self._connection.execute(delete(_table(child)).where(_table(child).c.parent_id == ident))
            self._bulk(_table(child), shape.children_by_column([noun], name))

    def move_credit(self, movements: Sequence[CreditMovement]) -> list[CreditMovement]:
        """Stores movements with what they do to their grants, and gives those that were new; a known one does nothing.

        The database refuses one that leaves less than nothing, so that two that draw at once cannot both.
        """
        fresh, table = self.add(movements), _table(SHAPES[CreditGrant])
        for one in fresh:
            left = table.c.left_minor + one.kind.sign * one.amount.minor
            self._connection.execute(update(table).where(table.c.id == one.grant_id).values(left_minor=left))
        return fresh

    def apply_cash(self, applications: Sequence[Application]) -> list[Application]:
        """Stores applications with what they take of their receipts, and gives those that were new.

        The database refuses one that takes more than is left, and a second reversal of the same one.
        """
        fresh, table = self.add(applications), _table(SHAPES[CashReceipt])
        for one in fresh:
            left = table.c.left_minor + one.use.sign * one.amount.minor
            self._connection.execute(update(table).where(table.c.id == one.receipt_id).values(left_minor=left))
        return fresh

    def identify_cash(self, receipt_id: str, account_id: str) -> bool:
        """States whose a receipt is; False when that was known before."""
        table = _table(SHAPES[CashReceipt])
        unknown = update(table).where(table.c.id == receipt_id, table.c.account_id.is_(None))
        return self._connection.execute(unknown.values(account_id=account_id)).rowcount == 1

    def alone(self, act: str) -> None:
        """Waits until no other unit of work is at this act, and keeps others from it until this one ends."""
        if self._connection.dialect.name == "postgresql":  # of SQLite's units of work one writes at a time anyway
            self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(act, 0))))

    def rerate(
        self,
        account_id: str,
        billing_period: str,
        lines: Sequence[RatedLine],
        outdated: Sequence[str] = (),
        units: Sequence[UnitBalance] = (),
    ) -> bool:
        """Replaces the rated lines of an account and month; drops those of ``outdated`` months too, which were rated
        from the ones replaced; ``units``: what sources of included units did in the month, with the same care. False,
        and nothing is changed, when one of the lines stands on an invoice meanwhile."""
        self.alone(BILLING)
        table, billed = _table(SHAPES[RatedLine]), _table(SHAPES[Invoice].children["lines"])
        replaced = table.c.billing_period.in_([billing_period, *outdated]), table.c.account_id == account_id
        standing = select(billed.c.id).join(table, table.c.id == billed.c.rated_line_id).where(*replaced).limit(1)
        if self._connection.execute(standing).first() is not None:
            return False
        self._connection.execute(delete(table).where(*replaced))
        self._insert(SHAPES[RatedLine], lines, {"billing_period": billing_period})
        held = _table(SHAPES[UnitBalance])
        months = held.c.period.in_([billing_period, *outdated])
        self._connection.execute(delete(held).where(held.c.account_id == account_id, months))
        self._insert(SHAPES[UnitBalance], units, {})
        return True

    def get(self, kind: type[N], ident: str) -> N | None:
        """The noun of that id, or None."""
        return next(iter(self.find(kind, id=ident)), None)

    def find(self, kind: type[N], /, **equal: Any) -> list[N]:
        """Nouns whose columns equal the values (a list: any of them), ordered by id."""
        shape = SHAPES[kind]
        table = _table(shape)
        for name, value in equal.items():
            if isinstance(value, (list, tuple)) and len(value) > CHUNK:
                parts = [self.find(kind, **{**equal, name: part}) for part in chunks(value)]
                return sorted((noun for part in parts for noun in part), key=_id)
        query = _found(table, tuple((name, _Bound.of(value)) for name, value in equal.items()))
        rows_ = self._connection.execute(query, {f"of_{name}": value for name, value in equal.items()}).mappings()
        # Sorted here, since databases collate text differently.
        found = sorted(rows_, key=lambda row: str(row["id"]))
        children = {name: self._children(child, [row["id"] for row in found]) for name, child in shape.children.items()}
        return [
            shape.noun_of(cast(Any, row), {name: by_parent.get(row["id"], []) for name, by_parent in children.items()})
            for row in found
        ]

    def parent_of_child(self, kind: type[N], child: str, **equal: Any) -> N | None:
        """The noun one of whose ``child`` rows has the given columns, or None."""
        table = _table(SHAPES[kind].children[child])
        query = select(table.c.parent_id)
        for name, value in equal.items():
            query = query.where(table.c[name] == value)
        parent = self._connection.execute(query).scalar()
        return self.get(kind, parent) if parent else None

    def parents_of(self, kind: type[N], child: str, ids: Sequence[str]) -> list[N]:
        """The nouns whose ``child`` rows have these ids, each once, ordered by id."""
        table, parents = _table(SHAPES[kind].children[child]), set[str]()
        for part in chunks(ids):
            parents |= set(self._connection.execute(select(table.c.parent_id).where(table.c.id.in_(part))).scalars())
        return self.find(kind, id=sorted(parents))

    def child_ids(self, kind: type[Noun], child: str, **equal: Any) -> list[str]:
        """Ids of the ``child`` rows of a noun that have the given columns, in the order of their parents and places."""
        table = _table(SHAPES[kind].children[child])
        query = select(table.c.id).order_by(table.c.parent_id, table.c.sequence)
        for name, value in equal.items():
            query = query.where(table.c[name] == value)
        return list(self._connection.execute(query).scalars())

    def _children(self, shape: Shape[Any], parents: Sequence[str]) -> dict[str, list[Any]]:
        table = _table(shape)
        by_parent: dict[str, list[Any]] = {}
        for part in chunks(parents):
            for row in self._connection.execute(_children_of(table), {"of_parents": part}).mappings():
                by_parent.setdefault(row["parent_id"], []).append(row)
        return by_parent

    def _insert(self, shape: Shape[Any], nouns: Sequence[Noun], extra: Columns) -> None:
        more = {name: [value] * len(nouns) for name, value in extra.items()}
        self._bulk(_table(shape), shape.by_column(nouns) | more)
        for name, child in shape.children.items():
            self._bulk(_table(child), shape.children_by_column(nouns, name))

    def _bulk(self, table: Table, values: ByColumn) -> None:
        number = len(next(iter(values.values())))
        if number >= COPIED:
            _MANY[self._connection.dialect.name](self._connection, table, values)
        elif number:
            rows_ = zip(*values.values(), strict=True)
            self._connection.execute(insert(table), [dict(zip(values, row, strict=True)) for row in rows_])


def _written(connection: Connection, table: Table, values: ByColumn) -> tuple[str, Iterator[tuple[Any, ...]]]:
    """The columns that these rows have, as SQL names them, and each row as the driver takes it."""
    columns = [column for column in table.columns if column.name in values]
    told = (
        list(map(process, values[one.name])) if process else values[one.name]
        for one in columns
        for process in [one.type.bind_processor(connection.dialect)]
    )
    return ", ".join(f'"{column.name}"' for column in columns), zip(*told, strict=True)


def _together(connection: Connection, table: Table, values: ByColumn) -> None:
    """Many rows in each statement: SQLite prepares for a refusal by a trigger once for each."""
    names, told = _written(connection, table, values)
    for part in pages(told, COPIED):
        row = f"({', '.join('?' * len(part[0]))})"
        statement = f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * len(part))}'  # noqa: S608
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))


def _copy(connection: Connection, table: Table, values: ByColumn) -> None:
    """Rows by PostgreSQL's COPY; they may leave out columns that have a default."""
    names, told = _written(connection, table, values)
    statement = f'COPY "{table.name}" ({names}) FROM STDIN'
    try:
        with cast(Any, connection.connection.cursor()) as cursor, cursor.copy(statement) as copy:
            for row in told:
                copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error) from error


#: How each database is given many rows.
_MANY = {"sqlite": _together, "postgresql": _copy}


class _Bound(Enum):
    """What the column of a query is compared with."""

    NOTHING, ONE, ANY = range(3)

    @classmethod
    def of(cls, value: Any) -> _Bound:
        return cls.NOTHING if value is None else cls.ANY if isinstance(value, (list, tuple)) else cls.ONE


# Statements that run often are made once: making one costs more than running it.


@cache
def _found(table: Table, bounds: tuple[tuple[str, _Bound], ...]) -> Select[Any]:
    """The rows whose columns equal what is bound as ``of_<column>``."""
    query = select(table)
    for name, bound in bounds:
        column, value = table.c[name], f"of_{name}"
        match bound:
            case _Bound.NOTHING:
                query = query.where(column.is_(None))
            case _Bound.ONE:
                query = query.where(column == bindparam(value))
            case _Bound.ANY:
                query = query.where(column.in_(bindparam(value, expanding=True)))
    return query


@cache
def _children_of(table: Table) -> Select[Any]:
    among = table.c.parent_id.in_(bindparam("of_parents", expanding=True))
    return select(table).where(among).order_by(table.c.sequence)


@cache
def _held(table: Table) -> Select[Any]:
    return select(table.c.id).where(table.c.id == bindparam("of_id"))


def _table(shape: Shape[Any]) -> Table:
    return cast(Table, shape.row.__table__)  # type: ignore[attr-defined]


def _id(noun: Noun) -> str:
    return str(noun.id)  # type: ignore[attr-defined]
