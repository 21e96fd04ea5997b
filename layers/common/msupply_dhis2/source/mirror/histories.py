"""What is asked of the older mSupply's mirror for the histories of its stock.

Its instants are dates and seconds of the day in local time; they leave the database so, and the calendar makes
instants of them.
"""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import NamedFromClause

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.periods import add_days
from msupply_dhis2.source.base import Scope, Source
from msupply_dhis2.source.merge import ID_SEPARATOR, Histories, RowFault, Table
from msupply_dhis2.source.mirror.tables import (
    TYPES,
    Database,
    Feature,
    item_line,
    item_store_join,
    list_master_line,
    list_master_name_join,
    name,
    store,
    trans_line,
    transact,
)
from msupply_dhis2.source.sql import (
    PLAIN_PACK_SIZE,
    PLAIN_PACKS,
    Expression,
    Query,
    exact_quantity,
    is_unreadable_instant,
    materialized,
    text_of,
)

type _Table = NamedFromClause[ReadOnlyColumnCollection[str, sa.ColumnClause[Any]]]
"""A table or an alias of one."""

_INVENTORY_ADJUSTMENTS = "invad"
"""The code of the name that stands for counts of the stock."""


def _code(text: str) -> sa.ColumnElement[str]:
    """Write a code of mSupply into a statement, where the planner sees it and any type of column takes it."""
    return sa.literal_column(f"'{text}'")


_MOVED = [_code("cn"), _code("fn")]
"""Confirmed and finalised. Only these have moved stock."""

_TYPES = [_code(each) for each in TYPES]
_ZERO: Expression = sa.literal_column("0")


def line_counts(database: Database, stores: sa.CTE) -> tuple[Query, ...]:
    """Return what counts the lines of stores (see ``Source.lines``)."""
    is_line_of = database.identifier(trans_line.c.transaction_id) == database.identifier(transact.c.id)
    return (
        sa.select(stores.c.id, sa.func.count().label("lines"))
        .join(item_line, database.identifier(item_line.c.store_id) == stores.c.id)
        .group_by(stores.c.id),
        sa.select(stores.c.id, sa.func.count().label("lines"))
        .join(transact, database.identifier(transact.c.store_id) == stores.c.id)
        .join(trans_line, is_line_of)
        .group_by(stores.c.id),
    )


class MirrorHistories(Histories):
    """What is asked of a mirror."""

    stock_table = Table("item_line", "quantity or pack_size")
    movement_table = Table("trans_line", "quantity or pack_size")
    kinds = {kind.value: kind for kind in MovementKind}  # noqa: RUF012 - never changed

    def __init__(self, source: Source, database: Database, scope: Scope, floor: datetime) -> None:
        began, self._calendar = source.began, source.calendar
        midnight = datetime.combine(self._calendar.day_of(began), time.min)
        super().__init__(
            source,
            scope,
            floor,
            sa.literal(self._calendar.local_after(began), sa.DateTime),
            sa.literal(midnight, sa.DateTime),
        )
        self._database = database
        self._id = database.identifier
        self._of_store = self.stores.c.id == self._id(transact.c.store_id)
        self._own_day = database.day(transact.c.confirm_date)
        self._own_time = self._local_time(transact.c.confirm_date, transact.c.confirm_time)
        self._is_unreadable = is_unreadable_instant(sa.cast(self._own_day, sa.DateTime))
        self._number = text_of(transact.c.invoice_num if database.has(Feature.NUMBERING) else transact.c.id)

    def _read_instant(self, value: datetime) -> datetime:
        return self._calendar.instant_at(value)

    def _called(self, kind: str) -> str:
        return TYPES[kind]

    def _doubtful(self) -> Query:
        dated_later = self._own_time >= self.next_instant
        return (
            sa.select(
                self.stores.c.id.label("store_id"),
                text_of(transact.c.type).label("type"),
                self._number.label("number"),
                self._is_unreadable.label("unreadable"),
                dated_later.label("dated_later"),
            )
            .join(self.stores, self._of_store)
            .where(_has_moved(transact), sa.or_(self._own_day.is_(None), self._is_unreadable, dated_later))
            .order_by(self.stores.c.number, self._number)
        )

    def _unreadable_instants(self) -> Iterator[tuple[int, RowFault]]:
        transactions = (
            sa.select(
                self._id(transact.c.id).label("id"),
                self.stores.c.number,
                text_of(transact.c.type).label("type"),
                self._number.label("invoice_num"),
                text_of(transact.c.confirm_date).label("confirm_date"),
            )
            .join(self.stores, self._of_store)
            .where(_has_moved(transact), self._is_unreadable)
        )
        invoices = materialized(transactions, "unreadable_transaction")
        columns = [invoices.c[name] for name in ("id", "type", "invoice_num", "confirm_date")]
        lines = self._moved_lines(invoices, *columns).distinct().order_by("pair", *columns)
        for pair, transaction_id, kind, number, confirm_date in self.connection.execute(lines):
            fault = f"confirm_date is no date ({confirm_date!r}; {self._called(kind)} {number})"
            yield pair, RowFault("transact", transaction_id, fault)

    def _receipts_without_date(self) -> Query | None:
        if not self._database.has(Feature.EXPIRING):
            # Without the stock lines of its lines nobody can tell.
            return None
        stores, items = self.stores, self.items
        return (
            sa.select(stores.c.id, sa.func.count(transact.c.id.distinct()).label("receipts"))
            .select_from(transact)
            .join(stores, self._of_store)
            .join(trans_line, self._id(trans_line.c.transaction_id) == self._id(transact.c.id))
            .join(items, items.c.id == self._id(trans_line.c.item_id))
            .join(item_line, self._id(item_line.c.id) == self._id(trans_line.c.item_line_id))
            .where(
                self._kind() == _code(MovementKind.INBOUND_SHIPMENT),
                transact.c.status == _code("nw"),
                self._own_day.is_(None),
                trans_line.c.type == _code("stock_in"),
                self._database.number(item_line.c.quantity) > _ZERO,
            )
            .group_by(stores.c.id)
        )

    def _visible_pairs(self) -> Query:
        """Select what is on a master list of the store's name and not hidden in the store."""
        stores, items, of_list = self.stores, self.items, list_master_name_join
        pair = self.pair(stores)
        if not self._database.has(Feature.VISIBILITY):
            return sa.select(pair).select_from(stores).join(items, sa.false())
        on_list = self._id(list_master_line.c.item_master_id) == self._id(of_list.c.list_master_id)
        pairs = (
            sa.select(pair)
            .select_from(stores)
            .join(store, self._id(store.c.id) == stores.c.id)
            .join(of_list, self._id(of_list.c.name_id) == self._id(store.c.name_id))
            .join(list_master_line, on_list)
            .join(items, items.c.id == self._id(list_master_line.c.item_id))
            .where(self._id(store.c.name_id) != "")
        )
        if self._database.has(Feature.HIDING):
            pairs = pairs.where(
                ~sa.exists().where(
                    self._id(item_store_join.c.store_id) == stores.c.id,
                    self._id(item_store_join.c.item_id) == items.c.id,
                    self._database.flag(item_store_join.c.inactive),
                )
            )
        return pairs.distinct().order_by(pair)

    def _stock_lines(self) -> Query:
        pair = self.pair(self.stores)
        return (
            sa.select(
                pair,
                text_of(item_line.c.id).label("id"),
                self._database.number(item_line.c.quantity).label("packs"),
                self._database.number(item_line.c.pack_size).label("pack_size"),
                self._database.expiry(item_line.c.expiry_date).label("expiry_date"),
            )
            .join(self.stores, self.stores.c.id == self._id(item_line.c.store_id))
            .join(self.items, self.items.c.id == self._id(item_line.c.item_id))
            .order_by(pair, item_line.c.id)
        )

    def _movements(self) -> Query:
        # A day earlier, because one that the time zone left out counts as the beginning of the next.
        transactions = self._moved(sa.literal(add_days(self._calendar.day_of(self.floor), -1), sa.Date))
        packs = self._signed_packs()
        # A build's lines tell by themselves whether they add or reduce.
        of_build = sa.case(
            (packs > _ZERO, _code(MovementKind.INVENTORY_ADDITION)),
            else_=_code(MovementKind.INVENTORY_REDUCTION),
        )
        stock_line_id = self._database.text(trans_line.c.item_line_id)
        lines = self._moved_lines(
            transactions,
            transactions.c.local_time,
            sa.func.coalesce(transactions.c.kind, of_build).label("kind"),
            packs.label("packs"),
            self._database.number(trans_line.c.pack_size).label("pack_size"),
            sa.func.nullif(stock_line_id, sa.literal("", sa.Text)).label("item_line_id"),
        ).cte("line")
        return sa.select(*lines.c).order_by(lines.c.pair)

    def _totals(self) -> Query:
        transactions = self._moved(None)
        packs = self._signed_packs()
        pack_size = sa.func.coalesce(self._database.number(trans_line.c.pack_size), _ZERO)
        small = sa.and_(sa.func.abs(packs) < PLAIN_PACKS, sa.func.abs(pack_size) < PLAIN_PACK_SIZE)
        identifier: Expression = text_of(trans_line.c.id)
        if not self._database.has(Feature.IDENTIFYING):
            identifier = sa.literal("of the transaction ", sa.Text) + text_of(trans_line.c.transaction_id)
        quantity = exact_quantity(packs, pack_size, small, identifier)
        lines = self._moved_lines(transactions, transactions.c.local_time, *quantity).cte("line")
        is_in = sa.or_(lines.c.whole > 0, lines.c.parts > 0)
        return (
            sa.select(
                lines.c.pair,
                sa.func.sum(lines.c.whole),
                _ZERO,
                sa.func.sum(lines.c.parts),
                sa.func.min(lines.c.local_time).filter(is_in),
                sa.func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
            )
            .group_by(lines.c.pair)
            .order_by(lines.c.pair)
        )

    def _moved(self, at_least: Expression | None) -> sa.CTE:
        """Select the transactions that have moved stock, and when they count: all, or from a day on and a few besides.

        One that cancels another counts when the other does, where that is known.
        """
        entered = self._local_time(transact.c.entry_date, transact.c.entry_time)
        local_time = self.placed(self.readable(self._own_time), entered)
        moved = self._select(local_time)
        if at_least is None:
            moved = moved.where(self._own_day.is_not(None))
        else:
            # By the day itself, which may have an index. None counts later than it says.
            moved = moved.where(self._own_day >= at_least)
            moved = moved if self.all_readable else moved.where(local_time.is_not(None))
        if not self._database.has(Feature.CANCELLING):
            return materialized(moved, "moved_transaction")
        cancelled = transact.alias("cancelled")
        time_of_cancelled = self._local_time(cancelled.c.confirm_date, cancelled.c.confirm_time)
        entered = self._local_time(cancelled.c.entry_date, cancelled.c.entry_time)
        local_time = sa.func.coalesce(self.placed(self.readable(time_of_cancelled), entered), local_time)
        is_it = sa.and_(
            self._id(cancelled.c.id) == self._id(transact.c.linked_transaction_id),
            _has_moved(cancelled),
            ~is_unreadable_instant(time_of_cancelled),
        )
        is_cancellation = self._database.flag(transact.c.is_cancellation)
        cancelling = (
            self._select(local_time)
            .outerjoin(cancelled, is_it)
            .where(is_cancellation, self._own_day.is_not(None))
        )
        if at_least is not None:
            cancelling = cancelling.where(local_time >= at_least)
        both = sa.union_all(moved.where(~is_cancellation), cancelling)
        return materialized(both, "moved_transaction")

    def _select(self, local_time: Expression) -> Query:
        return (
            sa.select(
                self._id(transact.c.id).label("id"),
                self.stores.c.number,
                self._kind().label("kind"),
                local_time.label("local_time"),
            )
            .join_from(transact, self.stores, self._of_store)
            .where(_has_moved(transact))
        )

    def _local_time(self, day: sa.ColumnClause[Any], seconds: sa.ColumnClause[Any]) -> Expression:
        since_midnight = sa.func.make_interval(*[_ZERO] * 6, self._database.seconds(seconds))
        return sa.cast(self._database.day(day) + since_midnight, sa.DateTime)

    def _kind(self) -> sa.ColumnElement[str]:
        """Return what a transaction is; NULL for a build."""
        name_code = sa.func.lower(sa.func.btrim(text_of(name.c.code)))
        counts = sa.select(self._id(name.c.id)).where(name_code == _INVENTORY_ADJUSTMENTS)
        counted = self._id(transact.c.name_id).in_(counts)
        mode = sa.func.lower(sa.func.btrim(text_of(transact.c.mode)))
        dispensed = mode == "dispensary" if self._database.has(Feature.DISPENSING) else sa.false()
        kinds = (
            ("si", MovementKind.INVENTORY_ADDITION, (counted,)),
            ("sc", MovementKind.INVENTORY_REDUCTION, (counted,)),
            ("ci", MovementKind.PRESCRIPTION, (dispensed,)),
            ("ci", MovementKind.OUTBOUND_SHIPMENT, ()),
            ("si", MovementKind.INBOUND_SHIPMENT, ()),
            ("cc", MovementKind.CUSTOMER_RETURN, ()),
            ("sc", MovementKind.SUPPLIER_RETURN, ()),
            ("sr", MovementKind.REPACK, ()),
        )
        return sa.case(
            *[(sa.and_(transact.c.type == _code(code), *also), _code(kind)) for code, kind, also in kinds]
        )

    def _moved_lines(self, transactions: sa.CTE, *columns: Expression) -> Query:
        """Select the lines of transactions that move stock. A placeholder, service or non_stock line moves none."""
        return (
            sa.select(self.pair(transactions), *columns)
            .select_from(trans_line)
            .join(transactions, transactions.c.id == self._id(trans_line.c.transaction_id))
            .join(self.items, self.items.c.id == self._id(trans_line.c.item_id))
            .where(
                trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]),
                self._database.number(trans_line.c.quantity) != _ZERO,
            )
        )

    def _signed_packs(self) -> sa.ColumnElement[float]:
        """Return the packs that a line moves, + in. A cancellation may come as a negative quantity, which turns the sign."""
        packs = self._database.number(trans_line.c.quantity)
        return sa.case((trans_line.c.type == _code("stock_in"), packs), else_=-packs)


def _has_moved(of: _Table) -> sa.ColumnElement[bool]:
    return sa.and_(of.c.status.in_(_MOVED), of.c.type.in_(_TYPES))
