"""What is asked of the older mSupply's mirror for the histories of its stock.

Its instants are dates and seconds of the day in local time; they leave the database so, and the calendar makes
instants of them.
"""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnClause,
    ColumnElement,
    Date,
    DateTime,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import NamedFromClause

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.periods import Calendar, add_days
from msupply_dhis2.source.base import Scope
from msupply_dhis2.source.merge import (
    ID_SEPARATOR,
    Histories,
    RowFault,
    Table,
)
from msupply_dhis2.source.mirror.columns import Database
from msupply_dhis2.source.mirror.tables import (
    CANCELLING,
    DISPENSING,
    EXPIRING,
    HIDING,
    IDENTIFYING,
    NUMBERING,
    TYPES,
    VISIBILITY,
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
    Reading,
    exact_quantity,
    is_unreadable_instant,
    text_of,
)

type _Table = NamedFromClause[ReadOnlyColumnCollection[str, ColumnClause[Any]]]
"""A table or an alias of one."""

_INVENTORY_ADJUSTMENTS = "invad"
"""The code of the name that stands for counts of the stock."""


def _code(text: str) -> ColumnElement[str]:
    """Write a code of mSupply into a statement, where the planner sees it and any type of column takes it."""
    return literal_column(f"'{text}'")


_MOVED = [_code("cn"), _code("fn")]
"""Confirmed and finalised. Only these have moved stock."""

_TYPES = [_code(each) for each in TYPES]
_ZERO: ColumnElement[Any] = literal_column("0")


def line_counts(database: Database, stores: CTE) -> tuple[Select[Any], ...]:
    """Return what counts the lines of stores (see ``Source.lines``)."""
    is_line_of = database.identifier(trans_line.c.transaction_id) == database.identifier(transact.c.id)
    return (
        select(stores.c.id, func.count().label("lines"))
        .join(item_line, database.identifier(item_line.c.store_id) == stores.c.id)
        .group_by(stores.c.id),
        select(stores.c.id, func.count().label("lines"))
        .join(transact, database.identifier(transact.c.store_id) == stores.c.id)
        .join(trans_line, is_line_of)
        .group_by(stores.c.id),
    )


class MirrorHistories(Histories):
    """What is asked of a mirror."""

    stock_table = Table("item_line", "quantity or pack_size")
    movement_table = Table("trans_line", "quantity or pack_size")
    kinds = {kind.value: kind for kind in MovementKind}  # noqa: RUF012 - never changed

    def __init__(self, database: Database, scope: Scope, began: datetime, calendar: Calendar) -> None:
        midnight = datetime.combine(calendar.day_of(began), time.min)
        reading = Reading(
            next=literal(calendar.local_after(began), DateTime), midnight=literal(midnight, DateTime)
        )
        super().__init__(database.connection, scope, reading)
        self._database = database
        self._calendar = calendar
        self._id = database.identifier
        self._of_store = self.stores.c.id == self._id(transact.c.store_id)
        self._own_day = database.day(transact.c.confirm_date)

    def read_instant(self, value: datetime) -> datetime:
        """Return the instant of a local time."""
        return self._calendar.instant_at(value)

    def called(self, kind: str) -> str:
        """Return what a type of transactions is called in messages."""
        return TYPES[kind]

    def doubtful(self) -> Select[Any]:
        """Select what has moved without a date, on an unreadable one, or later than now."""
        dated_later = self._own_time(transact) >= self.reading.next
        unreadable = self._is_unreadable()
        number = self._number()
        return (
            select(
                self.stores.c.id.label("store_id"),
                text_of(transact.c.type).label("type"),
                number.label("number"),
                unreadable.label("unreadable"),
                dated_later.label("dated_later"),
            )
            .join(self.stores, self._of_store)
            .where(_has_moved(transact), or_(self._own_day.is_(None), unreadable, dated_later))
            .order_by(self.stores.c.number, number)
        )

    def _is_unreadable(self) -> ColumnElement[bool]:
        """Whether the date of a transaction is there and cannot be read."""
        return is_unreadable_instant(cast(self._own_day, DateTime))

    def _number(self) -> ColumnElement[str]:
        return text_of(transact.c.invoice_num if self._database.has(NUMBERING) else transact.c.id)

    def unreadable_instants(self) -> Iterator[tuple[int, RowFault]]:
        """Yield the transactions whose date cannot be read, by the pairs that they would have moved."""
        transactions = (
            select(
                self._id(transact.c.id).label("id"),
                self.stores.c.number,
                text_of(transact.c.type).label("type"),
                self._number().label("invoice_num"),
                text_of(transact.c.confirm_date).label("confirm_date"),
            )
            .join(self.stores, self._of_store)
            .where(_has_moved(transact), self._is_unreadable())
            .cte("unreadable_transaction")
            .prefix_with("MATERIALIZED")
        )
        columns = [transactions.c[name] for name in ("id", "type", "invoice_num", "confirm_date")]
        lines = self._moved_lines(transactions, *columns)
        for pair, transaction_id, kind, number, confirm_date in self.connection.execute(
            lines.distinct().order_by("pair", *columns)
        ):
            fault = f"confirm_date is no date ({confirm_date!r}; {self.called(kind)} {number})"
            yield pair, RowFault("transact", transaction_id, fault)

    def receipts_without_date(self) -> Select[Any] | None:
        """Count the receipts that came over as new and whose stock is on stock lines."""
        if not self._database.has(EXPIRING):
            # Without the stock lines of its lines nobody can tell.
            return None
        stores, items = self.stores, self.items
        return (
            select(stores.c.id, func.count(transact.c.id.distinct()).label("receipts"))
            .select_from(transact)
            .join(stores, self._of_store)
            .join(trans_line, self._id(trans_line.c.transaction_id) == self._id(transact.c.id))
            .join(items, items.c.id == self._id(trans_line.c.item_id))
            .join(item_line, self._id(item_line.c.id) == self._id(trans_line.c.item_line_id))
            .where(
                self._kind() == _code(MovementKind.INBOUND_SHIPMENT.value),
                transact.c.status == _code("nw"),
                self._own_day.is_(None),
                trans_line.c.type == _code("stock_in"),
                self._database.number(item_line.c.quantity) > _ZERO,
            )
            .group_by(stores.c.id)
        )

    def visible_pairs(self) -> Select[Any]:
        """Select what is on a master list of the store's name and not hidden in the store."""
        stores, items, of_list = self.stores, self.items, list_master_name_join
        pair = self.pair(stores)
        if not self._database.has(VISIBILITY):
            return select(pair).select_from(stores).join(items, false())
        on_list = self._id(list_master_line.c.item_master_id) == self._id(of_list.c.list_master_id)
        pairs = (
            select(pair)
            .select_from(stores)
            .join(store, self._id(store.c.id) == stores.c.id)
            .join(of_list, self._id(of_list.c.name_id) == self._id(store.c.name_id))
            .join(list_master_line, on_list)
            .join(items, items.c.id == self._id(list_master_line.c.item_id))
            .where(self._id(store.c.name_id) != "")
        )
        if self._database.has(HIDING):
            pairs = pairs.where(
                ~exists().where(
                    self._id(item_store_join.c.store_id) == stores.c.id,
                    self._id(item_store_join.c.item_id) == items.c.id,
                    self._database.flag(item_store_join.c.inactive),
                )
            )
        return pairs.distinct().order_by(pair)

    def stock_lines(self) -> Select[Any]:
        """Select the stock lines as they are now."""
        pair = self.pair(self.stores)
        columns: list[ColumnElement[Any]] = [
            pair,
            text_of(item_line.c.id).label("id"),
            self._database.number(item_line.c.quantity).label("packs"),
            self._database.number(item_line.c.pack_size).label("pack_size"),
            self._database.expiry(item_line.c.expiry_date).label("expiry_date"),
        ]
        return (
            select(*columns)
            .join(self.stores, self.stores.c.id == self._id(item_line.c.store_id))
            .join(self.items, self.items.c.id == self._id(item_line.c.item_id))
            .order_by(pair, item_line.c.id)
        )

    def movements(self, floor: datetime) -> Select[Any]:
        """Select the movements at or after the floor, or a little earlier."""
        # A day earlier, because one that the time zone left out counts as the beginning of the next.
        transactions = self._moved(literal(add_days(self._calendar.day_of(floor), -1), Date))
        packs = self._signed_packs()
        # A build's lines tell by themselves whether they add or reduce.
        of_build = case(
            (packs > _ZERO, _code(MovementKind.INVENTORY_ADDITION.value)),
            else_=_code(MovementKind.INVENTORY_REDUCTION.value),
        )
        stock_line_id = self._database.text(trans_line.c.item_line_id)
        lines = self._moved_lines(
            transactions,
            transactions.c.local_time,
            func.coalesce(transactions.c.kind, of_build).label("kind"),
            packs.label("packs"),
            self._database.number(trans_line.c.pack_size).label("pack_size"),
            func.nullif(stock_line_id, literal("", Text)).label("item_line_id"),
        ).cte("line")
        return select(*lines.c).order_by(lines.c.pair)

    def totals(self) -> Select[Any]:
        """Sum all that ever moved, exactly."""
        transactions = self._moved(None)
        packs = self._signed_packs()
        pack_size = func.coalesce(self._database.number(trans_line.c.pack_size), _ZERO)
        small = and_(func.abs(packs) < PLAIN_PACKS, func.abs(pack_size) < PLAIN_PACK_SIZE)
        identifier = (
            text_of(trans_line.c.id)
            if self._database.has(IDENTIFYING)
            else literal("of the transaction ", Text) + text_of(trans_line.c.transaction_id)
        )
        lines = self._moved_lines(
            transactions,
            transactions.c.local_time,
            *exact_quantity(packs, pack_size, small, identifier),
        ).cte("line")
        is_in = or_(lines.c.whole > 0, lines.c.parts > 0)
        return (
            select(
                lines.c.pair,
                func.sum(lines.c.whole),
                _ZERO,
                func.sum(lines.c.parts),
                func.min(lines.c.local_time).filter(is_in),
                func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
            )
            .group_by(lines.c.pair)
            .order_by(lines.c.pair)
        )

    def _moved(self, at_least: ColumnElement[Any] | None) -> CTE:
        can_cancel = self._database.has(CANCELLING)
        is_cancellation = self._database.flag(transact.c.is_cancellation) if can_cancel else None
        return self.moved("moved_transaction", at_least, is_cancellation)

    def moved_themselves(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select the transactions that have moved stock on their own day."""
        local_time = self._placed(transact)
        transactions = self._select(local_time)
        if at_least is None:
            return transactions.where(self._own_day.is_not(None))
        # By the day itself, which may have an index. None counts later than it says.
        transactions = transactions.where(self._own_day >= at_least)
        return transactions if self.all_readable else transactions.where(local_time.is_not(None))

    def moved_with_another(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select those that cancel another: they count when the other does, where that is known."""
        cancelled = transact.alias("cancelled")
        local_time = func.coalesce(self._placed(cancelled), self._placed(transact))
        is_it = and_(
            self._id(cancelled.c.id) == self._id(transact.c.linked_transaction_id),
            _has_moved(cancelled),
            ~is_unreadable_instant(self._own_time(cancelled)),
        )
        transactions = (
            self._select(local_time)
            .outerjoin(cancelled, is_it)
            .where(self._database.flag(transact.c.is_cancellation), self._own_day.is_not(None))
        )
        return transactions if at_least is None else transactions.where(local_time >= at_least)

    def _select(self, local_time: ColumnElement[Any]) -> Select[Any]:
        return (
            select(
                self._id(transact.c.id).label("id"),
                self.stores.c.number,
                self._kind().label("kind"),
                local_time.label("local_time"),
            )
            .join_from(transact, self.stores, self._of_store)
            .where(_has_moved(transact))
        )

    def _placed(self, of: _Table) -> ColumnElement[Any]:
        created = self._local_time(of.c.entry_date, of.c.entry_time)
        return self.reading.placed(self.readable(self._own_time(of)), created)

    def _own_time(self, of: _Table) -> ColumnElement[Any]:
        """Return the local time at which a transaction says itself that it moved its stock."""
        return self._local_time(of.c.confirm_date, of.c.confirm_time)

    def _local_time(self, day: ColumnClause[Any], seconds: ColumnClause[Any]) -> ColumnElement[Any]:
        since_midnight = func.make_interval(*[_ZERO] * 6, self._database.seconds(seconds))
        return cast(self._database.day(day) + since_midnight, DateTime)

    def _kind(self) -> ColumnElement[str]:
        """Return what a transaction is; NULL for a build."""
        counted = self._id(transact.c.name_id).in_(
            select(self._id(name.c.id)).where(
                func.lower(func.btrim(text_of(name.c.code))) == _INVENTORY_ADJUSTMENTS
            )
        )
        dispensed = (
            func.lower(func.btrim(text_of(transact.c.mode))) == "dispensary"
            if self._database.has(DISPENSING)
            else false()
        )
        return case(
            *(
                (and_(transact.c.type == _code(code), *condition), _code(kind.value))
                for code, condition, kind in (
                    ("si", (counted,), MovementKind.INVENTORY_ADDITION),
                    ("sc", (counted,), MovementKind.INVENTORY_REDUCTION),
                    ("ci", (dispensed,), MovementKind.PRESCRIPTION),
                    ("ci", (), MovementKind.OUTBOUND_SHIPMENT),
                    ("si", (), MovementKind.INBOUND_SHIPMENT),
                    ("cc", (), MovementKind.CUSTOMER_RETURN),
                    ("sc", (), MovementKind.SUPPLIER_RETURN),
                    ("sr", (), MovementKind.REPACK),
                )
            )
        )

    def _moved_lines(self, transactions: CTE, *columns: ColumnElement[Any]) -> Select[Any]:
        """Select the lines of transactions that move stock. A placeholder, service or non_stock line moves none."""
        return (
            select(self.pair(transactions), *columns)
            .select_from(trans_line)
            .join(transactions, transactions.c.id == self._id(trans_line.c.transaction_id))
            .join(self.items, self.items.c.id == self._id(trans_line.c.item_id))
            .where(
                trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]),
                self._database.number(trans_line.c.quantity) != _ZERO,
            )
        )

    def _signed_packs(self) -> ColumnElement[float]:
        """Return the packs that a line moves, + in. A cancellation may come as a negative quantity, which turns the sign."""
        packs = self._database.number(trans_line.c.quantity)
        return case((trans_line.c.type == _code("stock_in"), packs), else_=-packs)


def _has_moved(of: _Table) -> ColumnElement[bool]:
    return and_(of.c.status.in_(_MOVED), of.c.type.in_(_TYPES))
