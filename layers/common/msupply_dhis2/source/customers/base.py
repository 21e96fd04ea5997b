"""Reading customers and their reports, whichever kind the database is.

The lines of reports are the largest table but one. The database filters them by period and sorts them by pair, as it does
for the ledger, so that no more than one group is in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import groupby
from math import inf, isfinite
from typing import Any, ClassVar, NamedTuple

import sqlalchemy as sa

from msupply_dhis2.domain.report import (
    DatePeriod,
    Document,
    DocumentKind,
    GroupReports,
    PairReports,
    Reported,
    ReportLine,
)
from msupply_dhis2.domain.stock import Kind, MovementKind, Store, UnreadableRow
from msupply_dhis2.errors import SourceError
from msupply_dhis2.metrics.quantity import MOST_UNITS, to_units
from msupply_dhis2.periods import Basis, Window, add_days
from msupply_dhis2.source.base import Skipped, Source
from msupply_dhis2.source.merge import Numbers, Scope, Stream, unreadable_instants, without_quantity
from msupply_dhis2.source.queries import StockQueries
from msupply_dhis2.source.selection import field_text, first_value
from msupply_dhis2.source.sql import Expression, Query, numbered, read_instant
from msupply_dhis2.text import listed

_QUANTITIES = len(Reported._fields)
_CONSUMPTION = Reported._fields.index("consumption")
_SUPPLIED_BY = frozenset({MovementKind.OUTBOUND_SHIPMENT, MovementKind.CUSTOMER_RETURN})
_DATE = "____-__-__%"
_BEFORE_ALL = datetime(1, 1, 1)  # noqa: DTZ001 - naive UTC, as all instants


@dataclass(frozen=True, slots=True)
class Chosen:
    """The customers that have an org unit, by code, and those that have none."""

    sent: tuple[Store, ...]
    blank: tuple[Skipped, ...]
    warnings: tuple[str, ...]


class Name(NamedTuple):
    """A name of mSupply, with its fields in the places where they are kept, in their order; ``None`` for broken JSON."""

    id: str
    code: str | None
    name: str | None
    places: Sequence[Mapping[str, object] | None]


class Days(NamedTuple):
    """The days, both included, that reports must be about."""

    first: date
    last: date

    @classmethod
    def of(cls, windows: Mapping[Basis, Window]) -> "Days":
        """Return the days of all the windows."""
        firsts = [window.calendar.day_of(window.flow_start) for window in windows.values()]
        return cls(min(firsts), max(window.snapshot_date for window in windows.values()))


class Customers(ABC):
    """The customers of one consistent state of a database, and their reports.

    All reading raises ``SourceError``, as that of ``Source`` does.
    """

    kinds: ClassVar[Mapping[str, DocumentKind]]
    """What the types of documents mean."""
    required: ClassVar[Mapping[str, Sequence[str]]]
    """The tables and columns that it takes."""
    optional: ClassVar[Sequence[str]]
    """Tables that are read where they are there."""
    days_of_consumption: ClassVar[float] = 1.0
    """By how much the column for the average monthly consumption is multiplied."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._connection, self._calendar = source.connection, source.calendar
        where = (
            f"Customers (customers) is 'requisitions', but mSupply's database ({source.address.described})"
        )
        missing = [
            f"{table}.{column}"
            for table, columns in self.required.items()
            for column in columns
            if column not in source.columns.get(table, {})
        ]
        if missing:
            raise SourceError(
                f"{where} has no {', '.join(missing)}. Take a newer mSupply, or let it export these too; or set customers: none."
            )
        if self._connection.dialect.name == "postgresql":
            tables = [table for table in (*self.required, *self.optional) if table in source.columns]
            may_not = [table for table in tables if not self._may_read(table)]
            if may_not:
                raise SourceError(
                    f"{where} does not let this user read {', '.join(may_not)}. Let its administrator run: GRANT SELECT ON "
                    f'{", ".join(may_not)} TO "{source.address.username}"; or set customers: none.'
                )

    def _may_read(self, table: str) -> bool:
        may = sa.func.has_any_column_privilege(table, "SELECT")
        return bool(self._connection.execute(sa.select(may)).scalar_one())

    def choose(self, field: str) -> Chosen:
        """Read which customers have an org unit in a custom field."""
        sent, blank, broken = list[Store](), list[Skipped](), list[str]()
        for row in self._names(field):
            code = row.code or ""
            name = row.name or code
            if None in row.places:
                broken.append(f"{name} ({code})")
            org_unit = field_text(first_value([place or {} for place in row.places], field))
            if org_unit is not None:
                sent.append(Store(row.id, code, name, org_unit, kind=Kind.CUSTOMER))
                continue
            reason = f"it has no value in the custom field '{field}' (Customer field reference)"
            blank.append(Skipped(Kind.CUSTOMER, code, name, reason, is_blank=True))
        warning = (
            f"Custom fields that cannot be read (broken JSON) count as empty, in customers {listed(broken)}."
        )
        by_code = sorted(sent, key=lambda customer: (customer.code, customer.id))
        return Chosen(tuple(by_code), tuple(blank), (warning,) if broken else ())

    def lines(self, customers: Sequence[Store], windows: Mapping[Basis, Window]) -> Mapping[str, int]:
        """Count how many lines of reports about the time of the windows each customer has, by its id."""
        ids = [customer.id for customer in customers]
        wanted = numbered("counted_customer", {each: index for index, each in enumerate(ids)})
        lines = dict.fromkeys(ids, 0)
        days = Days.of(windows)
        of_documents = self._lines(self._documents(wanted, days), None, days)
        query = sa.select(of_documents.c.pair, sa.func.count()).group_by(of_documents.c.pair)
        for index, number in self._connection.execute(query):
            lines[ids[index]] = number
        return lines

    def days(self, customers: Sequence[Store], days: Days) -> Iterator[tuple[str, date]]:
        """Yield the days that reports are about, by the ids of the customers, whatever stands in the reports."""
        ids = [customer.id for customer in customers]
        wanted = numbered("asked_customer", {each: index for index, each in enumerate(ids)})
        documents = self._documents(wanted, days)
        columns = [documents.c[name] for name in ("customer", "day", "created")]
        for index, day_text, created in self._connection.execute(sa.select(*columns).distinct()):
            day = self._day(day_text, created)
            if day is not None and days.first <= day <= days.last:
                yield ids[index], day

    def reports(
        self, scope: Scope, windows: Mapping[Basis, Window], *, supplied: bool
    ) -> Iterator[GroupReports]:
        """Stream the groups with a report about the time of the windows, by org unit, then item group.

        With ``supplied`` also those that any store has issued to or taken back from, and how much.
        """
        numbers, days = Numbers(scope), Days.of(windows)
        documents = self._documents(numbered("scope_customer", numbers.stores), days)
        lines = self._lines(documents, numbered("scope_item", numbers.items), days)
        with ExitStack() as stack:

            def stream(query: Query) -> Stream:
                return stack.enter_context(closing(Stream(self._connection, query)))

            reports = stream(sa.select(*lines.c).order_by(lines.c.pair))
            supplies = (
                _Supplies(self._source, self._supplied(numbers, windows), windows, stream)
                if supplied
                else None
            )
            pairs = iter(lambda: min(reports.pair, supplies.pair if supplies else inf), inf)
            for number, pairs_of_group in groupby(
                pairs, key=lambda pair: int(pair) // numbers.pairs_of_a_group
            ):
                history = numbers.history(number)
                group = GroupReports(history.org_unit, history.item_group)
                for pair in map(int, pairs_of_group):
                    of_pair = numbers.pair_history(pair, history)
                    found = PairReports(of_pair.store, of_pair.item)
                    faults = [*self._read_lines(found, reports.take(pair))]
                    if supplies is not None:
                        found.supplied = supplies.take(pair, faults)
                    group.unreadable += [UnreadableRow(found.store, found.item, *fault) for fault in faults]
                    group.pairs.append(found)
                yield group

    def _read_lines(self, pair: PairReports, rows: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
        """Read the lines of a pair. What a document says of an item in several lines adds up."""
        lines: dict[str, ReportLine] = {}
        for _, line_id, instant, has_remark, *others in rows:
            quantities, (day_text, document_id, kind, *about) = others[:_QUANTITIES], others[_QUANTITIES:]
            try:
                reported = Reported(*map(self._to_units, quantities, range(_QUANTITIES)))
            except (TypeError, ValueError):
                fault = f"a quantity is no finite number, or more than {MOST_UNITS:,} units"
                yield "requisition_line", line_id, fault
                continue
            document = _document(document_id, self.kinds[kind], *about)
            line = ReportLine(document, self._day(day_text, instant), reported, bool(has_remark))
            lines[document_id] = _together(lines[document_id], line) if document_id in lines else line
        pair.lines += lines.values()

    def _to_units(self, quantity: float | None, column: int) -> int:
        return to_units(quantity or 0.0, self.days_of_consumption if column == _CONSUMPTION else 1.0)

    def _day(self, day: str | None, instant: object) -> date | None:
        """Return the day that a report is about: the one that it says, else that of an instant; ``None``: unreadable."""
        try:
            if day is not None:
                return date.fromisoformat(day[:10])
            return self._calendar.day_of(read_instant(instant))
        except ValueError:
            return None

    @staticmethod
    def of_document(documents: sa.CTE) -> list[Expression]:
        """Return the columns of a document that go with each of its lines."""
        names = "day id kind number finalised first last has_program is_from_dhis2"
        return [documents.c[name] for name in names.split()]

    @staticmethod
    def may_be_about(days: Days, day: Expression) -> sa.ColumnElement[bool]:
        """Whether the text of a day is one of these, or no day at all, which is to be named."""
        first, day_after = days.first.isoformat(), add_days(days.last, 1).isoformat()
        return sa.or_(sa.and_(day >= first, day < day_after), ~day.like(_DATE))

    @abstractmethod
    def _names(self, field: str) -> Iterator[Name]:
        """Yield who is a customer and has no enabled store."""

    @abstractmethod
    def _documents(self, customers: sa.CTE, days: Days) -> sa.CTE:
        """Select the documents that count and may be about these days.

        ``(customer, day, created, id, kind, number, finalised, first, last, has_program, is_from_dhis2)``: the number of the
        customer, and the day as text: the last of the period, or that of the count; NULL where only instants are known.
        """

    @abstractmethod
    def _lines(self, documents: sa.CTE, items: sa.CTE | None, days: Days) -> sa.CTE:
        """Select the lines of documents, of these items or, with the number of the customer as ``pair``, of all.

        ``(pair, id, instant, has_remark)``, the columns of ``Reported``, and ``of_document``.
        """

    @abstractmethod
    def _of_customers(self, queries: StockQueries) -> None:
        """Have the queries ask for the movements of customers by the names of invoices, in place of those of stores."""

    def _supplied(self, numbers: Numbers, windows: Mapping[Basis, Window]) -> StockQueries:
        floor = min(window.flow_start for window in windows.values())
        queries = self._source.queries(numbers.stores, numbers.items, floor)
        self._of_customers(queries)
        queries.all_readable = not any(row.unreadable for row in self._connection.execute(queries.doubtful()))
        return queries


class _Supplies:
    """What stores have issued to customers, pair by pair; ``pair`` is the number of the one that comes next."""

    def __init__(
        self,
        source: Source,
        queries: StockQueries,
        windows: Mapping[Basis, Window],
        stream: Callable[[Query], Stream],
    ) -> None:
        self._read_instant, self._queries, self._windows = source.read_instant, queries, windows
        self._unreadable = {**unreadable_instants(source.connection, queries)}
        self._movements = stream(queries.movements())

    @property
    def pair(self) -> float:
        return min(self._movements.pair, *self._unreadable, inf)

    def take(self, pair: int, faults: list[tuple[str, str, str]]) -> Mapping[Basis, int]:
        """Return how much was issued to a pair, less what came back, on each basis on which anything moved."""
        faults += self._unreadable.pop(pair, ())
        supplied: dict[Basis, int] = {}
        for _, instant_as_stored, kind, packs, pack_size, _ in self._movements.take(pair):
            instant = self._read_instant(instant_as_stored)
            bases = [
                basis
                for basis, window in self._windows.items()
                if window.flow_start <= instant < window.flow_end
            ]
            if self._queries.kinds[kind] not in _SUPPLIED_BY or not bases:
                continue
            try:
                units = to_units(packs, pack_size)
            except (TypeError, ValueError):
                line = self._queries.line
                faults.append((line.table.name, f"of an invoice of {instant}", without_quantity(line)))
                continue
            for basis in bases:
                supplied[basis] = supplied.get(basis, 0) - units
        return supplied


def _together(one: ReportLine, other: ReportLine) -> ReportLine:
    """Return two lines of a document about one item as one."""
    days = [line.day for line in (one, other) if line.day is not None]
    return ReportLine(
        one.document,
        max(days, default=None),
        Reported(*map(sum, zip(one.reported, other.reported, strict=True))),
        one.has_remark or other.has_remark,
    )


@lru_cache(maxsize=65_536)
def _document(  # noqa: PLR0913, PLR0917 - a row of the database
    identifier: str,
    kind: DocumentKind,
    number: float | None,
    finalised: object,
    first: str | None,
    last: str | None,
    has_program: object,
    is_from_dhis2: object,
) -> Document:
    when, period = _BEFORE_ALL, None
    if finalised is not None:
        with suppress(ValueError):
            when = read_instant(finalised)
    if first is not None and last is not None:
        with suppress(ValueError):
            period = DatePeriod(date.fromisoformat(first[:10]), date.fromisoformat(last[:10]))
    serial = -inf if number is None or not isfinite(number) else number
    return Document(
        number=identifier if serial == -inf else str(int(serial)),
        kind=kind,
        rank=(when, serial, identifier),
        period=period,
        has_program=bool(has_program),
        is_from_dhis2=bool(is_from_dhis2),
    )
