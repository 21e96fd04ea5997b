"""What is asked of a database for the histories of its stock, written once for both kinds of mSupply.

By EXPLAIN ``invoice_line``, by far the largest table, is read through once for each of its two streams (in SQLite once more,
for receipts without a date). The invoices that count are looked up in a hash (PostgreSQL) or an index made for the query
(SQLite); PostgreSQL finds few of them by the indexes on their instants, SQLite by ``store_id``. Nothing needs an index.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's index in the
order of the scope. So one number a row orders and merges the rows, and nothing that is not mapped leaves the database.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MICRO, Item, ItemGroup, MovementKind, OrgUnit, Store
from msupply_dhis2.source.sql import (
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


@dataclass(frozen=True, slots=True)
class Scope:
    """What to read: every org unit with every item group, in this order. No store or item is in it twice."""

    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]

    @property
    def stores(self) -> list[Store]:
        """The stores, or customers, of all org units."""
        return [store for org_unit in self.org_units for store in org_unit.stores]


class Numbers:
    """The numbers of the scope's stores and items.

    The pair of a store and an item has the sum of both: ``((org unit * item groups + item group) * most stores of an org
    unit + store) * most items of a group + item``.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._most_stores = max((len(org_unit.stores) for org_unit in scope.org_units), default=1)
        self._most_items = max((len(group.items) for group in scope.item_groups), default=1)
        self.pairs_of_a_group = self._most_stores * self._most_items
        """A pair's number divided by it is the index of its group in the scope."""
        of_org_unit = len(scope.item_groups) * self.pairs_of_a_group
        self.stores = {
            each.id: org_unit_index * of_org_unit + index * self._most_items
            for org_unit_index, org_unit in enumerate(scope.org_units)
            for index, each in enumerate(org_unit.stores)
        }
        self.items = {
            each.id: group_index * self.pairs_of_a_group + index
            for group_index, group in enumerate(scope.item_groups)
            for index, each in enumerate(group.items)
        }

    def group(self, number: int) -> tuple[OrgUnit, ItemGroup]:
        """Return what a group is about, by its index in the scope."""
        org_unit, item_group = divmod(number, len(self.scope.item_groups))
        return self.scope.org_units[org_unit], self.scope.item_groups[item_group]

    def pair(self, number: int) -> tuple[Store, Item]:
        """Return what a pair is about."""
        group, within = divmod(number, self.pairs_of_a_group)
        (org_unit, item_group), (store, item) = self.group(group), divmod(within, self._most_items)
        return org_unit.stores[store], item_group.items[item]


@dataclass(frozen=True, slots=True)
class Clock:
    """Instants as the database has them: those of UTC, or what the clock of the configured time zone shows.

    The first after the start of the reading, that which begins its day, and that from which on movements are read one by one,
    or a little earlier. ``read`` returns one in naive UTC.
    """

    next_instant: datetime
    midnight: datetime
    floor: date
    read: Callable[[Any], datetime]


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
    batch: Expression


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

    ``kind``: what moved the stock; NULL where its lines say so (see ``kind_of_line``). ``instant``: when it says itself that
    its stock moved, NULL where it did not, or that is not known; ``stored``: the same as text; ``stored_in``: the name of its
    column. ``created``: NULL where that is not known. ``cancels``: the id of the one that it cancels.
    """

    table: sa.FromClause
    id: Expression
    store_id: Expression
    type: Expression
    kind: Expression
    number: Expression
    may_have_moved: Condition
    instant: Expression
    stored: Expression
    stored_in: Expression
    lacks_instant: Condition
    """Whether it has moved stock, but when is not known."""
    created: Expression
    is_cancellation: Condition
    cancels: Expression
    is_receipt_without_date: Condition
    """Whether it is a receipt that came over as new and without a date."""


class StockQueries(ABC):
    """The queries of a scope. A kind of database says where it keeps what they are about.

    Rows of four of them begin with a pair's number, and come in the order of these. Where not ``all_readable``, an instant
    that cannot be read comes as NULL, and is none at or after the floor.
    """

    kinds: ClassVar[Mapping[str, MovementKind]]
    names: ClassVar[Mapping[str, str]]
    """What the types of invoices are called in messages."""
    instant_is: ClassVar[str]
    """What an instant is called there."""

    line: Lines
    stock_line: StockLines
    invoice: Invoices
    cancelled: Invoices | None
    """Those that others cancel; ``None`` where the database does not say which."""
    floor: Expression
    since_floor: Condition
    """What all at or after the floor fulfil, and few others, by an index."""

    def __init__(self, numbers: Numbers, clock: Clock) -> None:
        self.numbers, self.clock = numbers, clock
        self.stores = numbered("scope_store", numbers.stores)
        self.items = numbered("scope_item", numbers.items)
        """By the ids by which other tables mean them."""
        self.next_instant = sa.literal(clock.next_instant, Instant())
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
        """Select what moved without an instant, at an unreadable one or later: ``(store_id, type, number, unreadable, later)``."""
        it, is_later = self.invoice, one_separator(self.invoice.instant) >= self.next_instant
        return (
            self._invoices(self.stores.c.id, it.type, it.number, self._is_unreadable, is_later)
            .where(sa.or_(it.lacks_instant, self._is_unreadable, is_later))
            .order_by(self.stores.c.number, it.number)
        )

    def unreadable_instants(self) -> Query:
        """Select the invoices whose instant cannot be read, by pair: ``(pair, number, id, type, column, text)``.

        Each of these pairs has a total; neither the movements nor the instant of the first hold such an instant.
        """
        it = self.invoice
        columns = [getattr(it, each).label(each) for each in ("id", "type", "stored_in", "stored")]
        query = self._invoices(self.stores.c.number, it.number.label("invoice_number"), *columns)
        invoices = materialized(query.where(self._is_unreadable), "unreadable_invoice")
        lines = self._moved_lines(invoices, *list(invoices.c)[1:])
        return sa.select(*lines.c).distinct().order_by(*lines.c)

    def receipts_without_date(self) -> Query:
        """Count, by the id of the store, the receipts that came over as new and whose stock is on stock lines."""
        line, has_packs = self.line, self.stock_line.packs > sa.literal_column("0")
        lines = JoinInOrder(line.table, self.items, self.items.c.id == line.item_id)
        of_invoices = JoinInOrder(lines, self.invoice.table, self.invoice.id == line.invoice_id)
        of_stores = JoinInOrder(of_invoices, self.stores, self._of_store)
        on_stock_line = self.stock_line.id == line.stock_line_id
        return (
            sa.select(self.stores.c.id, sa.func.count(self.invoice.id.distinct()).label("receipts"))
            .select_from(JoinInOrder(of_stores, self.stock_line.table, on_stock_line))
            .where(self.invoice.is_receipt_without_date, line.is_in, has_packs)
            .group_by(self.stores.c.id)
        )

    def stock_lines(self) -> Query:
        """Select the stock lines as they are now: ``(pair, id, packs, pack_size, expiry date as text)``."""
        it, pair = self.stock_line, self.pair(self.stores)
        query = self._of_stock_lines(pair, it.id.label("id"), it.packs, it.pack_size, it.expiry_date)
        return query.order_by(pair, it.id)

    def batches(self) -> Query:
        """Select the batch numbers of the stock lines: ``(id, batch)``."""
        it = self.stock_line
        return self._of_stock_lines(it.id, it.batch).where(it.batch.is_not(None))

    def _of_stock_lines(self, *columns: Expression) -> Query:
        it = self.stock_line
        of_stores = sa.join(it.table, self.stores, self.stores.c.id == it.store_id)
        return sa.select(*columns).select_from(of_stores.join(self.items, self.items.c.id == it.item_id))

    def movements(self, *, named: bool = False) -> Query:
        """Select the movements at or after the floor, or a little earlier.

        ``(pair, instant, type, packs, pack_size, stock_line_id)``; packs are signed, + in. ``named``: with the number of the
        invoice and its own instant behind them.
        """
        it, line = self.invoice, self.line
        names = (
            {"invoice_number": text_of(it.number), "own_instant": self._readable(it.instant)} if named else {}
        )
        invoices = self._moved(names, from_floor=True)
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

        In whole units, in more of these and in millionths besides (64 bits are enough for each); then the instant of the first
        movement in of more than 0 units, and the ids of the lines whose quantity cannot be read, joined.
        """
        invoices = self._moved({}, from_floor=False)
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            sa.case((self.line.is_in, 1), else_=-1).label("sign"),
            *exact_quantity(self.line.packs, self.line.pack_size, self.line.id),
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
        return self.stores.c.id == self.invoice.store_id

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
        it, instant = self.invoice, self._placed(self.invoice)
        named = {"id": it.id, "number": self.stores.c.number, "kind": it.kind, **more}
        columns = [column.label(name) for name, column in named.items()]
        moved = self._invoices(*columns, instant.label("instant"))
        if from_floor:
            # None counts later than it says.
            moved = moved.where(self.since_floor, self._readable(it.instant) >= self.floor)
        else:
            moved = moved.where(it.instant.is_not(None))
        if (other := self.cancelled) is None:
            return materialized(moved, "moved_invoice")
        instant = sa.func.coalesce(self._placed(other), instant)
        is_it = sa.and_(other.id == it.cancels, other.may_have_moved, ~is_unreadable_instant(other.instant))
        cancelling = (
            self._invoices(*columns, instant.label("instant"))
            .outerjoin(other.table, is_it)
            .where(it.is_cancellation, it.instant.is_not(None))
        )
        if from_floor:
            cancelling = cancelling.where(instant >= self.floor)
        return materialized(sa.union_all(moved.where(~it.is_cancellation), cancelling), "moved_invoice")

    def _readable(self, own: Expression) -> Expression:
        """Return an instant, and NULL for one that cannot be read."""
        return own if self.all_readable else sa.case((is_unreadable_instant(own), None), else_=own)

    def _placed(self, invoices: Invoices) -> Expression:
        """Return the instant at which movements count: NULL where that of their invoice is.

        What is dated later than the reading has moved the stock lines already.
        """
        own, created = one_separator(self._readable(invoices.instant)), one_separator(invoices.created)
        is_known = sa.and_(created < self.next_instant, ~is_unreadable_instant(created))
        made = sa.case((is_known, created), else_=sa.literal(self.clock.midnight, Instant()))
        return sa.case((own >= self.next_instant, made), else_=own)

    def _moved_lines(self, invoices: sa.CTE, *columns: Expression) -> sa.CTE:
        """Select the lines of invoices that move stock.

        Not to be ordered or grouped in the same breath: SQLite would forgo its indexes of the other two.
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
