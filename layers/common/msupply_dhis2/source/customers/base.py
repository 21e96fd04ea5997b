"""Reading customers and their reports: a kind of database says where it keeps what.

The database filters the lines of reports by period and sorts them by pair: no more than one group is in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from itertools import groupby
from math import inf, isfinite
from typing import Any, ClassVar

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
from msupply_dhis2.domain.stock import Kind, MovementKind, Skipped, Store, UnreadableRow
from msupply_dhis2.errors import SourceError
from msupply_dhis2.metrics.quantity import MOST_UNITS, to_units
from msupply_dhis2.periods import Basis, Window, add_days
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.merge import Fault, Stream, unreadable_instants, without_quantity
from msupply_dhis2.source.queries import Condition, Numbers, Scope, StockQueries
from msupply_dhis2.source.selection import StoreSelection
from msupply_dhis2.source.sql import (
    Column,
    Expression,
    Instant,
    JoinInOrder,
    Query,
    is_unreadable_instant,
    materialized,
    numbered,
    one_separator,
    read_instant,
)

DATE = "____-__-__%"

_QUANTITIES = len(Reported._fields)
_SUPPLIED_BY = frozenset({MovementKind.OUTBOUND_SHIPMENT, MovementKind.CUSTOMER_RETURN})
_BEFORE_ALL = datetime(1, 1, 1)  # noqa: DTZ001 - naive UTC, as all instants


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents, whoever they are about.

    ``day``: the last of the period, else that of the count, as text; NULL where only instants are known, such as when it
    was ``created``. ``first`` and ``last``: the period's days, as text; NULL without one. ``finalised``: an instant or NULL.
    ``linked_to``: the order of a store's own that a requisition answers. ``said``: comment and reference.
    """

    tables: sa.FromClause
    customer_id: Expression
    id: Expression
    kind: Expression
    status: Expression
    linked_to: Expression
    is_emergency: Condition
    number: Expression
    day: Expression
    created: Expression
    finalised: Expression
    first: Expression
    last: Expression
    has_program: Expression
    said: Sequence[Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of documents: ``instant`` goes before that of the document, ``quantities`` are by ``Reported``."""

    table: sa.TableClause
    id: Expression
    document_id: Expression
    item_id: Expression
    instant: Expression
    remarks: Sequence[Expression]
    quantities: Mapping[str, Expression]


_OF_LINES = ("day", "id", "kind", "number", "finalised", "first", "last", "has_program", "is_from_dhis2")
"""The columns of a document that go with each of its lines."""


class Customers(ABC):
    """The customers of one consistent state of a database, and their reports."""

    kinds: ClassVar[Mapping[str, DocumentKind]]
    """What the types of documents mean."""
    finalised: ClassVar[Sequence[str]]
    """The statuses of documents that count."""
    required: ClassVar[Sequence[Column]]
    """The columns that it takes."""
    optional: ClassVar[Sequence[str]]
    """Tables that are read where they are there."""
    days_of_consumption: ClassVar[float] = 1.0
    """By how much the column for the average monthly consumption is multiplied."""

    documents: Documents
    line: Lines
    customer_of_invoice: Expression
    """The id by which an invoice means its customer."""

    def __init__(self, source: Source) -> None:
        self._source, self._connection, self._calendar = source, source.connection, source.calendar
        factors = {"consumption": self.days_of_consumption}
        self._factors = [factors.get(name, 1.0) for name in Reported._fields]
        where = f"Customers (customers) is 'requisitions', but mSupply's {source.address.described}"
        if missing := source.columns.missing(self.required):
            raise SourceError(
                f"{where} has no {', '.join(missing)}. Use a newer mSupply, or let it export these too; or set customers: none."
            )
        if self._connection.dialect.name != "postgresql":
            return
        needed = dict.fromkeys((*(str(each.table) for each in self.required), *self.optional))
        tables = [table for table in needed if table in source.columns.types]
        may_read = sa.select(*(sa.func.has_any_column_privilege(table, "SELECT") for table in tables))
        may = self._connection.execute(may_read).one()
        if may_not := ", ".join(table for table, granted in zip(tables, may, strict=True) if not granted):
            raise SourceError(
                f"{where} does not let this user read {may_not}. Let its administrator run: GRANT SELECT ON {may_not} TO "
                f'"{source.address.username}"; or set customers: none.'
            )

    @abstractmethod
    def _read(self, chosen: StoreSelection) -> None:
        """Read who is a customer and has no enabled store."""

    @abstractmethod
    def _links(self, numbers: sa.CTE, of: str) -> sa.CTE:
        """Return the numbers of names or items by the ids by which other tables mean them."""

    def choose(self, field: str) -> tuple[tuple[Store, ...], Sequence[Skipped], Sequence[str]]:
        """Return the customers that have an org unit in a custom field, by code; those that have none; and warnings."""
        chosen = StoreSelection(field, Kind.CUSTOMER)
        self._read(chosen)
        return chosen.by_code, chosen.not_meant, [*chosen.warnings()]

    def lines(self, customers: Sequence[Store], windows: Mapping[Basis, Window]) -> Mapping[str, int]:
        """Count how many lines of reports about the time of the windows each customer has, by its id."""
        ids, days = [each.id for each in customers], DatePeriod.of(windows.values())
        lines = self._lines(
            self._documents({each: index for index, each in enumerate(ids)}, days), None, days
        )
        query = sa.select(lines.c.pair, sa.func.count()).group_by(lines.c.pair)
        counted = self._connection.execute(query)
        return dict.fromkeys(ids, 0) | {ids[index]: number for index, number in counted}

    def days(self, customers: Sequence[Store], days: DatePeriod) -> Iterator[tuple[str, date]]:
        """Yield the days that reports are about, by the ids of the customers, whatever stands in the reports."""
        ids = [customer.id for customer in customers]
        documents = self._documents({each: index for index, each in enumerate(ids)}, days)
        query = sa.select(documents.c.customer, documents.c.day, documents.c.created).distinct()
        for index, text, created in self._connection.execute(query):
            day = self._day(text, created)
            if day is not None and days.first <= day <= days.last:
                yield ids[index], day

    def reports(
        self, scope: Scope, windows: Mapping[Basis, Window], *, supplied: bool
    ) -> Iterator[GroupReports]:
        """Stream the groups with a report about the time of the windows, by org unit, then item group.

        With ``supplied`` also those that any store has issued to or taken back from, and how much.
        """
        numbers, days = Numbers(scope), DatePeriod.of(windows.values())
        lines = self._lines(self._documents(numbers.stores, days), numbers.items, days)
        asked: list[Query] = [sa.select(*lines.c).order_by(lines.c.pair)]
        unreadable: dict[int, Sequence[Fault]] = {}
        if supplied:
            queries = self._supplied(scope, windows)
            unreadable |= unreadable_instants(self._connection, queries)
            asked.append(queries.movements())
        with ExitStack() as stack:
            streams = [Stream(stack, self._connection, query) for query in asked]
            pairs = iter(lambda: min([*(stream.pair for stream in streams), *unreadable]), inf)
            for number, of_group in groupby(pairs, key=lambda pair: int(pair) // numbers.pairs_of_a_group):
                group = GroupReports(*numbers.group(number))
                for pair in map(int, of_group):
                    found = PairReports(*numbers.pair(pair))
                    faults = [*self._read_lines(found, streams[0].take(pair)), *unreadable.pop(pair, ())]
                    if supplied:
                        found.supplied = _read_supplies(queries, windows, streams[1].take(pair), faults)
                    group.unreadable += [UnreadableRow(found.store, found.item, *fault) for fault in faults]
                    group.pairs.append(found)
                yield group

    def _documents(self, customers: Mapping[str, int], days: DatePeriod) -> sa.CTE:
        """Select the documents of customers that count and may be about these days, with the customers' numbers."""
        it, links = self.documents, self._links(numbered("scope_customer", customers), "name")
        requisition = next(iter(self.kinds))
        first, day_after = days.first.isoformat(), add_days(days.last, 1).isoformat()
        # What is no day at all is to be named.
        may_be_in = sa.or_(it.day.is_(None), sa.and_(it.day >= first, it.day < day_after), ~it.day.like(DATE))
        columns = {"customer": links.c.number, "created": it.created}
        columns |= {name: getattr(it, name) for name in _OF_LINES[:-1]}
        columns["is_from_dhis2"] = sa.or_(*(sa.func.lower(text).like("%dhis2%") for text in it.said))
        query = (
            sa.select(*(column.label(name) for name, column in columns.items()))
            .select_from(it.tables.join(links, links.c.id == it.customer_id))
            .where(
                it.kind.in_(list(self.kinds)),
                # A linked one is a store's own order.
                sa.or_(it.kind != requisition, sa.func.coalesce(it.linked_to, "") == ""),
                it.status.in_(self.finalised),
                ~it.is_emergency,
                may_be_in,
            )
        )
        return materialized(query, "document")

    def _lines(self, documents: sa.CTE, items: Mapping[str, int] | None, days: DatePeriod) -> sa.CTE:
        """Select the lines of documents, of these items or, with the number of the customer as ``pair``, of all.

        ``(pair, id, instant, has_remark)``, the columns of ``Reported``, and those of the document.
        """
        it, document = self.line, documents.c
        pair: Expression = document.customer
        tables = JoinInOrder(it.table, documents, document.id == it.document_id)
        if items is not None:
            links = self._links(numbered("scope_item", items), "item")
            tables, pair = JoinInOrder(tables, links, links.c.id == it.item_id), pair + links.c.number
        instant = sa.func.coalesce(it.instant, document.created, type_=Instant())
        start = sa.literal(self._calendar.start_of_day(days.first), Instant())
        end = sa.literal(self._calendar.start_of_day(add_days(days.last, 1)), Instant())
        is_in = sa.and_(one_separator(instant) >= start, one_separator(instant) < end)
        it_is_dated = document.day.is_not(None)
        query = (
            sa.select(
                pair.label("pair"),
                it.id.label("line_id"),
                instant.label("instant"),
                sa.or_(*(sa.func.trim(text) != "" for text in it.remarks)).label("has_remark"),
                *(it.quantities.get(name, sa.null()).label(name) for name in Reported._fields),
                *(document[name] for name in _OF_LINES),
            )
            .select_from(tables)
            .where(sa.or_(it_is_dated, instant.is_(None), is_in, is_unreadable_instant(instant)))
        )
        # As in the ledger: SQLite would forgo its indexes where it is to sort in the same breath.
        return query.cte("line").prefix_with("MATERIALIZED", dialect="sqlite")

    def _read_lines(self, pair: PairReports, rows: Sequence[Any]) -> Iterator[Fault]:
        """Read the lines of a pair. What a document says of an item in several lines adds up."""
        lines: dict[str, ReportLine] = {}
        for _, line_id, instant, has_remark, *others in rows:
            quantities, (text, document_id, kind, *about) = others[:_QUANTITIES], others[_QUANTITIES:]
            try:
                units = [*map(to_units, (each or 0.0 for each in quantities), self._factors)]
            except (TypeError, ValueError):
                fault = f"a quantity is not a finite number, or more than {MOST_UNITS:,} units"
                yield self.line.table.name, line_id, fault
                continue
            document = _document(document_id, self.kinds[kind], tuple(about))
            line = ReportLine(document, self._day(text, instant), Reported(*units), bool(has_remark))
            lines[document_id] = lines[document_id].with_another(line) if document_id in lines else line
        pair.lines += lines.values()

    def _day(self, text: str | None, instant: object) -> date | None:
        """Return the day that a report is about: the one that it says, else that of an instant; ``None``: unreadable."""
        with suppress(ValueError):
            return date.fromisoformat(text[:10]) if text else self._calendar.day_of(read_instant(instant))
        return None

    def _supplied(self, scope: Scope, windows: Mapping[Basis, Window]) -> StockQueries:
        """Return what asks for the movements of customers, by the names of invoices, in place of those of stores."""
        queries = self._source.queries(scope, min(window.flow_start for window in windows.values()))
        queries.stores = self._links(queries.stores, "name")
        queries.invoice = replace(queries.invoice, store_id=self.customer_of_invoice)
        doubtful = self._connection.execute(queries.doubtful())
        queries.all_readable = not any(is_unreadable for _, _, _, is_unreadable, _ in doubtful)
        return queries


def _read_supplies(
    queries: StockQueries, windows: Mapping[Basis, Window], rows: Sequence[Any], faults: list[Fault]
) -> Mapping[Basis, int]:
    """Return how much was issued to a pair, less what came back, on each basis on which anything moved."""
    supplied: dict[Basis, int] = {}
    for _, instant_as_stored, kind, packs, pack_size, _ in rows:
        instant = queries.clock.read(instant_as_stored)
        bases = [basis for basis, window in windows.items() if window.flow_start <= instant < window.snapshot]
        if queries.kinds[kind] not in _SUPPLIED_BY or not bases:
            continue
        try:
            units = to_units(packs, pack_size)
        except (TypeError, ValueError):
            faults.append(without_quantity(queries.line, f"of an invoice of {instant}"))
            continue
        for basis in bases:
            supplied[basis] = supplied.get(basis, 0) - units
    return supplied


@lru_cache(maxsize=4_096)
def _document(identifier: str, kind: DocumentKind, about: tuple[Any, ...]) -> Document:
    """Make a document of a row of the database: of most of them there are many lines."""
    number, finalised, first, last, has_program, is_from_dhis2 = about
    when, period = _BEFORE_ALL, None
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
