"""What is asked of a database for the histories of its stock, written once for both kinds of mSupply.

Looked at with EXPLAIN on both databases: ``invoice_line`` is by far the largest table, has no useful index in
SQLite, and is read through once for each of its two streams (in SQLite once more, for receipts without a date);
the invoices that count are looked up in a hash (PostgreSQL) or an index made for the query (SQLite). Where
those at or after the floor are few, PostgreSQL finds them by ``invoice``'s indexes on ``picked_datetime``,
``received_datetime`` and ``verified_datetime``; where they are not (three months of fourteen, every store
mapped) it reads ``invoice`` through, with several workers. SQLite goes by ``invoice.store_id``. Stock lines are
found by ``stock_line.store_id``, or read through where all stores are mapped. Nothing needs an index: without
one a table is read through, which for ``invoice_line`` happens anyway.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MICRO, MovementKind
from msupply_dhis2.source.sql import (
    PLAIN_PACK_SIZE,
    PLAIN_PACKS,
    Expression,
    Instant,
    JoinInOrder,
    Query,
    exact_quantity,
    is_unreadable_instant,
    materialized,
    numbered,
    one_separator,
    text_of,
)

ID_SEPARATOR = "\n"
"""Stands between the ids of rows that the database hands over together."""

type Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantities:
    """Rows of an item with packs and pack size; ``quantity`` is what these two are called."""

    table: sa.TableClause
    quantity: str
    id: Expression
    item_id: Expression
    packs: Expression
    pack_size: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLines(Quantities):
    """The stock lines as they are now, with their expiry dates as text."""

    store_id: Expression
    expiry_date: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Quantities):
    """The lines of invoices; ``moves``: whether a line moves stock, ``is_in``: whether it adds its packs."""

    invoice_id: Expression
    stock_line_id: Expression
    moves: Condition
    is_in: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoices:
    """The invoices (of the older mSupply: transactions), or an alias of their table.

    ``instant``: when an invoice says itself that its stock moved, NULL where it did not, or that is not known; it counts
    where ``may_have_moved``. ``created``: when it was made, NULL where that is not known.
    """

    table: sa.FromClause
    id: Expression
    may_have_moved: Condition
    instant: Expression
    created: Expression


class StockQueries(ABC):
    """The queries of a scope. A kind of database says where it keeps what they are about.

    Rows of four of them begin with a pair's number, and come in the order of these. Where not ``all_readable``, an instant
    that cannot be read comes as NULL, and is none at or after the floor.

    Attributes
    ----------
    stores, items
        The ids by which the database means them, with their numbers.
    next_instant, midnight, floor
        The first instant after the start of the reading, that which begins its day, and the floor or a little earlier; in
        the database's own kind of instants: those of UTC, or what the clock of the configured time zone shows.
    cancelled, is_cancellation, cancels
        Which invoices cancel another, and which one that is; None where that is not known.
    kind
        What an invoice is; its lines, where it is NULL (see ``kind_of_line``).
    batch
        The batch number of a stock line, NULL where it has none.
    lacks_instant
        Whether an invoice has moved stock, but when is not known.
    stored, stored_in
        The instant as text, and the column that it is in.
    since_floor
        A condition that all at or after the floor fulfil, and few others, by an index.
    is_receipt_without_date
        Whether an invoice is a receipt that came over as new and without a date; None where nobody can tell.
    """

    kinds: ClassVar[Mapping[str, MovementKind]]
    names: ClassVar[Mapping[str, str]]
    """What the types of invoices are called in messages."""
    instant_is: ClassVar[str]
    """What an instant is called there."""

    line: Lines
    stock_line: StockLines
    batch: Expression
    invoice: Invoices
    store_id: Expression
    kind: Expression
    invoice_type: Expression
    number: Expression
    lacks_instant: Condition
    stored: Expression
    stored_in: Expression
    floor: Expression
    since_floor: Condition
    is_receipt_without_date: Condition | None
    cancelled: Invoices | None
    is_cancellation: Condition
    cancels: Expression

    def __init__(
        self, stores: Mapping[str, int], items: Mapping[str, int], next_instant: datetime, midnight: datetime
    ) -> None:
        self.stores = numbered("scope_store", stores)
        self.items = numbered("scope_item", items)
        self.next_instant = sa.literal(next_instant, Instant())
        self.midnight = sa.literal(midnight, Instant())
        self.all_readable = True

    @abstractmethod
    def visible_pairs(self) -> Query:
        """Select the pairs that are visible in the store: ``(pair)``."""

    def kind_of_line(self, kind: Expression, packs: Expression) -> Expression:  # noqa: ARG002 - for others
        """Return what a line is, by the invoice's kind and its signed packs."""
        return kind

    def pair(self, stores: sa.CTE) -> sa.ColumnElement[int]:
        """Return the number of a pair, by rows that have the number of the store."""
        return (stores.c.number + self.items.c.number).label("pair")

    def line_counts(self) -> tuple[Query, ...]:
        """Count the lines of each store: ``(store_id, number)``."""
        by_store = sa.select(self.stores.c.id, sa.func.count().label("lines")).group_by(self.stores.c.id)
        invoices = JoinInOrder(self.line.table, self.invoice.table, self.line.invoice_id == self.invoice.id)
        return (
            by_store.join(self.stock_line.table, self.stock_line.store_id == self.stores.c.id),
            by_store.select_from(JoinInOrder(invoices, self.stores, self._of_store)),
        )

    def doubtful(self) -> Query:
        """Select what has moved without an instant, at an unreadable one, or later than now.

        ``(store_id, type, number, unreadable, dated_later)``.
        """
        dated_later = one_separator(self.invoice.instant) >= self.next_instant
        return (
            self._invoices(
                self.stores.c.id.label("store_id"),
                self.invoice_type.label("type"),
                self.number.label("number"),
                self._is_unreadable.label("unreadable"),
                sa.case((dated_later, 1), else_=0).label("dated_later"),
            )
            .where(sa.or_(self.lacks_instant, self._is_unreadable, dated_later))
            .order_by(self.stores.c.number, self.number)
        )

    def unreadable_instants(self) -> Query:
        """Select the invoices that moved stock at an instant that cannot be read, by the pairs that they would have moved.

        ``(pair, id, type, number, column, text)``. Each of these pairs has a total; neither the movements nor the instant
        of the first hold such an instant.
        """
        named = {
            "id": self.invoice.id,
            "type": self.invoice_type,
            "invoice_number": self.number,
            "column": self.stored_in,
            "instant": self.stored,
        }
        query = self._invoices(
            self.stores.c.number, *(column.label(name) for name, column in named.items())
        ).where(self._is_unreadable)
        invoices = materialized(query, "unreadable_invoice")
        lines = self._moved_lines(invoices, *(invoices.c[name] for name in named))
        return sa.select(*lines.c).distinct().order_by(*lines.c)

    def receipts_without_date(self) -> Query | None:
        """Count, by the id of the store, the receipts that came over as new and whose stock is on stock lines."""
        if self.is_receipt_without_date is None:
            return None
        line = self.line
        lines = JoinInOrder(line.table, self.items, self.items.c.id == line.item_id)
        of_invoices = JoinInOrder(lines, self.invoice.table, self.invoice.id == line.invoice_id)
        of_stores = JoinInOrder(of_invoices, self.stores, self._of_store)
        on_stock_line = self.stock_line.id == line.stock_line_id
        return (
            sa.select(self.stores.c.id, sa.func.count(self.invoice.id.distinct()).label("receipts"))
            .select_from(JoinInOrder(of_stores, self.stock_line.table, on_stock_line))
            .where(self.is_receipt_without_date, line.is_in, self.stock_line.packs > sa.literal_column("0"))
            .group_by(self.stores.c.id)
        )

    def stock_lines(self) -> Query:
        """Select the stock lines as they are now: ``(pair, id, packs, pack_size, expiry date as text)``."""
        it, pair = self.stock_line, self.pair(self.stores)
        return (
            sa.select(
                pair,
                it.id.label("id"),
                it.packs.label("packs"),
                it.pack_size.label("pack_size"),
                it.expiry_date.label("expiry_date"),
            )
            .join(self.stores, self.stores.c.id == it.store_id)
            .join(self.items, self.items.c.id == it.item_id)
            .order_by(pair, it.id)
        )

    def batches(self) -> Query:
        """Select the batch numbers of the stock lines: ``(id, batch)``."""
        it = self.stock_line
        return (
            sa.select(it.id, self.batch)
            .join_from(it.table, self.stores, self.stores.c.id == it.store_id)
            .join(self.items, self.items.c.id == it.item_id)
            .where(self.batch.is_not(None))
        )

    def movements(self, *, named: bool = False) -> Query:
        """Select the movements at or after the floor, or a little earlier.

        ``(pair, instant, type, packs, pack_size, stock_line_id)``; packs are signed, + in. ``named``: with the number of the
        invoice and its own instant behind them.
        """
        names = (
            {"invoice_number": text_of(self.number), "own_instant": self._readable(self.invoice.instant)}
            if named
            else {}
        )
        line, invoices = self.line, self._moved(names, from_floor=True)
        packs = sa.case((line.is_in, line.packs), else_=-line.packs)
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            self.kind_of_line(invoices.c.kind, packs).label("kind"),
            packs.label("packs"),
            line.pack_size.label("pack_size"),
            line.stock_line_id.label("stock_line_id"),
            *(invoices.c[name] for name in names),
        )
        return sa.select(*lines.c).order_by(lines.c.pair)

    def totals(self) -> Query:
        """Sum all that ever moved: ``(pair, whole, units, parts, first_in, unreadable)``.

        In whole units, in more of these and in millionths besides (in two parts, for which 64 bits are enough); then the
        instant of the first movement in of more than 0 units, and the ids of the lines whose quantity cannot be read,
        joined.
        """
        invoices = self._moved({}, from_floor=False)
        packs, pack_size = self.line.packs, sa.func.coalesce(self.line.pack_size, sa.literal_column("0"))
        # Not by abs(), nor of signed packs, which are 0 for text in SQLite.
        small = sa.and_(
            packs.between(-PLAIN_PACKS, PLAIN_PACKS), pack_size.between(-PLAIN_PACK_SIZE, PLAIN_PACK_SIZE)
        )
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            sa.case((self.line.is_in, 1), else_=-1).label("sign"),
            *exact_quantity(packs, pack_size, small, self.line.id),
        )
        sign, whole, parts = lines.c.sign, lines.c.whole, lines.c.parts
        is_in = sa.or_(sign * whole > 0, sign * parts > 0)
        return (
            sa.select(
                lines.c.pair,
                sa.func.sum(sign * whole),
                sa.func.sum(sign * (parts // MICRO)),
                sa.func.sum(sign * (parts % MICRO)),
                sa.func.min(lines.c.instant).filter(is_in),
                sa.func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
            )
            .group_by(lines.c.pair)
            .order_by(lines.c.pair)
        )

    @property
    def _of_store(self) -> Condition:
        return self.stores.c.id == self.store_id

    @property
    def _is_unreadable(self) -> Condition:
        return sa.and_(self.invoice.instant.is_not(None), is_unreadable_instant(self.invoice.instant))

    def _invoices(self, *columns: sa.ColumnElement[Any]) -> Query:
        """Select the invoices of the stores that may have moved stock."""
        return (
            sa.select(*columns)
            .join_from(self.invoice.table, self.stores, self._of_store)
            .where(self.invoice.may_have_moved)
        )

    def _moved(self, more: Mapping[str, Expression], *, from_floor: bool) -> sa.CTE:
        """Select the invoices that have moved stock, and when they count: all, or from the floor on and a few besides.

        ``more`` are further columns by name. One that cancels another counts when the other does, where that is known.
        """
        own, instant = self.invoice.instant, self._placed(self.invoice)
        columns = (
            self.invoice.id.label("id"),
            self.stores.c.number,
            self.kind.label("kind"),
            *(column.label(name) for name, column in more.items()),
        )
        moved = self._invoices(*columns, instant.label("instant"))
        if from_floor:
            # None counts later than it says.
            moved = moved.where(self.since_floor, self._readable(own) >= self.floor)
        else:
            moved = moved.where(own.is_not(None))
        if self.cancelled is None:
            return materialized(moved, "moved_invoice")
        instant = sa.func.coalesce(self._placed(self.cancelled), instant)
        is_it = sa.and_(
            self.cancelled.id == self.cancels,
            self.cancelled.may_have_moved,
            ~is_unreadable_instant(self.cancelled.instant),
        )
        cancelling = (
            self._invoices(*columns, instant.label("instant"))
            .outerjoin(self.cancelled.table, is_it)
            .where(self.is_cancellation, own.is_not(None))
        )
        if from_floor:
            cancelling = cancelling.where(instant >= self.floor)
        return materialized(sa.union_all(moved.where(~self.is_cancellation), cancelling), "moved_invoice")

    def _readable(self, own: Expression) -> Expression:
        """Return an instant, and NULL for one that cannot be read."""
        return own if self.all_readable else sa.case((is_unreadable_instant(own), None), else_=own)

    def _placed(self, invoices: Invoices) -> Expression:
        """Return the instant at which movements count: NULL where that of their invoice is.

        What is dated later than the reading has moved the stock lines already.
        """
        own, created = one_separator(self._readable(invoices.instant)), one_separator(invoices.created)
        is_known = sa.and_(created < self.next_instant, ~is_unreadable_instant(created))
        return sa.case(
            (own >= self.next_instant, sa.case((is_known, created), else_=self.midnight)), else_=own
        )

    def _moved_lines(self, invoices: sa.CTE, *columns: Expression) -> sa.CTE:
        """Select the lines of invoices that move stock.

        Not to be ordered or grouped in the same breath: with that to do as well, SQLite forgoes its indexes of the
        other two and reads them through for every line.
        """
        line, items = self.line, self.items
        of_invoices = JoinInOrder(line.table, invoices, invoices.c.id == line.invoice_id)
        return (
            sa.select(self.pair(invoices), *columns)
            .select_from(JoinInOrder(of_invoices, items, items.c.id == line.item_id))
            .where(line.moves)
            .cte("line")
            .prefix_with("MATERIALIZED", dialect="sqlite")
        )
