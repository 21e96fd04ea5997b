"""What is asked of the older mSupply's mirror for the histories of its stock.

Its instants are dates and seconds of the day in local time; they leave the database so, and the calendar makes
instants of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
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
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import NamedFromClause

from msupply_dhis2.domain.stock import GroupHistory, MovementKind, Store
from msupply_dhis2.periods import Calendar, add_days
from msupply_dhis2.source.base import Scope
from msupply_dhis2.source.merge import (
    ID_SEPARATOR,
    Numbers,
    Oddities,
    RowFault,
    Statements,
    Table,
    read_histories,
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
from msupply_dhis2.source.sql import Reading, exact_micro_units, is_unreadable_instant, numbered, text_of

type _Table = NamedFromClause[ReadOnlyColumnCollection[str, ColumnClause[Any]]]
"""A table or an alias of one."""

_PLAIN_PACKS = 1e8
_PLAIN_PACK_SIZE = 1e4
"""Finite numbers below these never make too many units, and whole ones multiply exactly, as integers and as floats."""

_INVENTORY_ADJUSTMENTS = "invad"
"""The code of the name that stands for counts of the stock."""

_KINDS = {kind.value: kind for kind in MovementKind}


def _code(text: str) -> ColumnElement[str]:
    """Write a code of mSupply into a statement, where the planner sees it and any type of column takes it."""
    return literal_column(f"'{text}'")


_MOVED = [_code("cn"), _code("fn")]
"""Confirmed and finalised. Only these have moved stock."""

_TYPES = [_code(each) for each in TYPES]


def histories(
    database: Database,
    scope: Scope,
    floor: datetime,
    calendar: Calendar,
    began: datetime,
    data_warnings: Oddities,
) -> Iterator[GroupHistory]:
    """Stream the groups of a scope (see ``Source.histories``), noting what is odd on the way."""
    numbers = Numbers.of(scope)
    stores = numbered("scope_store", numbers.stores)
    items = numbered("scope_item", numbers.items)
    reading = _reading(began, calendar)
    all_readable = _check_dates(database, scope, stores, reading, data_warnings)
    data_warnings.receipts_without_date = _receipts_without_date(database, scope, stores, items)
    transactions = _Transactions(database, stores, reading, all_readable)
    statements = Statements(
        visible_pairs=_visible_pairs(database, stores, items),
        stock_lines=_stock_lines(database, stores, items),
        movements=_movements(database, transactions.moved(calendar.day_of(floor)), items),
        totals=_totals(database, transactions.moved(None), items),
        stock_table=Table("item_line", "quantity or pack_size"),
        movement_table=Table("trans_line", "quantity or pack_size"),
        unreadable_instants={} if all_readable else _unreadable_dates(database, stores, items),
        read_instant=lru_cache(maxsize=65_536)(calendar.instant_at),
        kinds=_KINDS,
    )
    yield from read_histories(database.connection, numbers, floor, statements, data_warnings)


def _reading(began: datetime, calendar: Calendar) -> Reading:
    midnight = datetime.combine(calendar.day_of(began), time.min)
    return Reading(next=literal(calendar.local_after(began), DateTime), midnight=literal(midnight, DateTime))


def count_lines(database: Database, stores: Sequence[Store]) -> dict[str, int]:
    """Count the lines of each store, by its id (see ``Source.lines``)."""
    wanted = numbered("counted_store", {each.id: place for place, each in enumerate(stores)})
    lines = dict.fromkeys((each.id for each in stores), 0)
    for query in (
        select(wanted.c.id, func.count().label("lines"))
        .join(item_line, database.identifier(item_line.c.store_id) == wanted.c.id)
        .group_by(wanted.c.id),
        select(wanted.c.id, func.count().label("lines"))
        .join(transact, database.identifier(transact.c.store_id) == wanted.c.id)
        .join(
            trans_line,
            database.identifier(trans_line.c.transaction_id) == database.identifier(transact.c.id),
        )
        .group_by(wanted.c.id),
    ):
        for store_id, number in database.connection.execute(query):
            lines[store_id] += number
    return lines


def _check_dates(
    database: Database, scope: Scope, stores: CTE, reading: Reading, data_warnings: Oddities
) -> bool:
    """Note the transactions that have moved without a date, or later than now; tell whether all dates can be read."""
    dated_later = _own_time(database, transact) >= reading.next
    day = database.day(transact.c.confirm_date)
    unreadable = _is_unreadable(database)
    number = _number(database)
    transactions = (
        select(
            stores.c.id.label("store_id"),
            text_of(transact.c.type).label("type"),
            number.label("number"),
            unreadable.label("unreadable"),
            dated_later.label("dated_later"),
        )
        .join(stores, stores.c.id == database.identifier(transact.c.store_id))
        .where(
            transact.c.status.in_(_MOVED),
            transact.c.type.in_(_TYPES),
            or_(day.is_(None), unreadable, dated_later),
        )
        .order_by(stores.c.number, number)
    )
    codes = {each.id: each.code for org_unit in scope.org_units for each in org_unit.stores}
    lacking: list[str] = []
    later: list[str] = []
    all_readable = True
    for row in database.connection.execute(transactions):
        if row.unreadable:
            all_readable = False
        else:
            named = f"{codes[row.store_id]} {TYPES[row.type]} {row.number}"
            (later if row.dated_later else lacking).append(named)
    data_warnings.moved_without_instant, data_warnings.dated_later = tuple(lacking), tuple(later)
    return all_readable


def _is_unreadable(database: Database) -> ColumnElement[bool]:
    """Whether the date of a transaction is there and cannot be read."""
    return is_unreadable_instant(cast(database.day(transact.c.confirm_date), DateTime))


def _number(database: Database) -> ColumnElement[str]:
    return text_of(transact.c.invoice_num if database.has(NUMBERING) else transact.c.id)


def _unreadable_dates(database: Database, stores: CTE, items: CTE) -> defaultdict[int, list[RowFault]]:
    """Find the transactions whose date cannot be read, by the pairs that they would have moved."""
    transactions = (
        select(
            database.identifier(transact.c.id).label("id"),
            stores.c.number,
            text_of(transact.c.type).label("type"),
            _number(database).label("invoice_num"),
            text_of(transact.c.confirm_date).label("confirm_date"),
        )
        .join(stores, stores.c.id == database.identifier(transact.c.store_id))
        .where(transact.c.status.in_(_MOVED), transact.c.type.in_(_TYPES), _is_unreadable(database))
        .cte("unreadable_transaction")
        .prefix_with("MATERIALIZED")
    )
    columns = (
        transactions.c.id,
        transactions.c.type,
        transactions.c.invoice_num,
        transactions.c.confirm_date,
    )
    lines = _moved_lines(database, transactions, items, *columns)
    found = defaultdict[int, list[RowFault]](list)
    for pair, transaction_id, kind, number, confirm_date in database.connection.execute(
        lines.distinct().order_by("pair", *columns)
    ):
        fault = f"confirm_date is no date ({confirm_date!r}; {TYPES[kind]} {number})"
        found[pair].append(RowFault("transact", transaction_id, fault))
    return found


def _receipts_without_date(database: Database, scope: Scope, stores: CTE, items: CTE) -> dict[str, int]:
    """Count, by the code of the store, the receipts that came over as new and whose stock is on stock lines."""
    if not database.has(EXPIRING):
        # Without the stock lines of its lines nobody can tell.
        return {}
    receipts = (
        select(stores.c.id, func.count(transact.c.id.distinct()).label("receipts"))
        .select_from(transact)
        .join(stores, stores.c.id == database.identifier(transact.c.store_id))
        .join(
            trans_line, database.identifier(trans_line.c.transaction_id) == database.identifier(transact.c.id)
        )
        .join(items, items.c.id == database.identifier(trans_line.c.item_id))
        .join(
            item_line, database.identifier(item_line.c.id) == database.identifier(trans_line.c.item_line_id)
        )
        .where(
            _kind(database) == _code(MovementKind.INBOUND_SHIPMENT.value),
            transact.c.status == _code("nw"),
            database.day(transact.c.confirm_date).is_(None),
            trans_line.c.type == _code("stock_in"),
            database.number(item_line.c.quantity) > literal_column("0"),
        )
        .group_by(stores.c.id)
    )
    return scope.by_store_code({row.id: row.receipts for row in database.connection.execute(receipts)})


def _pair(stores: CTE, items: CTE) -> ColumnElement[int]:
    return (stores.c.number + items.c.number).label("pair")


def _visible_pairs(database: Database, stores: CTE, items: CTE) -> Select[Any]:
    """Select what is on a master list of the store's name and not hidden in the store."""
    pair = _pair(stores, items)
    if not database.has(VISIBILITY):
        return select(pair).select_from(stores).join(items, false())
    pairs = (
        select(pair)
        .select_from(stores)
        .join(store, database.identifier(store.c.id) == stores.c.id)
        .join(
            list_master_name_join,
            database.identifier(list_master_name_join.c.name_id) == database.identifier(store.c.name_id),
        )
        .join(
            list_master_line,
            database.identifier(list_master_line.c.item_master_id)
            == database.identifier(list_master_name_join.c.list_master_id),
        )
        .join(items, items.c.id == database.identifier(list_master_line.c.item_id))
        .where(database.identifier(store.c.name_id) != "")
    )
    if database.has(HIDING):
        pairs = pairs.where(
            ~exists().where(
                database.identifier(item_store_join.c.store_id) == stores.c.id,
                database.identifier(item_store_join.c.item_id) == items.c.id,
                database.flag(item_store_join.c.inactive),
            )
        )
    return pairs.distinct().order_by(pair)


def _stock_lines(database: Database, stores: CTE, items: CTE) -> Select[Any]:
    pair = _pair(stores, items)
    columns: list[ColumnElement[Any]] = [
        pair,
        text_of(item_line.c.id).label("id"),
        database.number(item_line.c.quantity).label("packs"),
        database.number(item_line.c.pack_size).label("pack_size"),
        database.expiry(item_line.c.expiry_date).label("expiry_date"),
    ]
    return (
        select(*columns)
        .join(stores, stores.c.id == database.identifier(item_line.c.store_id))
        .join(items, items.c.id == database.identifier(item_line.c.item_id))
        .order_by(pair, item_line.c.id)
    )


def _kind(database: Database) -> ColumnElement[str]:
    """Return what a transaction is; a build's lines tell by themselves whether they add or reduce."""
    counted = database.identifier(transact.c.name_id).in_(
        select(database.identifier(name.c.id)).where(
            func.lower(func.btrim(text_of(name.c.code))) == _INVENTORY_ADJUSTMENTS
        )
    )
    dispensed = (
        func.lower(func.btrim(text_of(transact.c.mode))) == "dispensary"
        if database.has(DISPENSING)
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


def _local_time(database: Database, day: ColumnClause[Any], seconds: ColumnClause[Any]) -> ColumnElement[Any]:
    since_midnight = func.make_interval(*[literal_column("0")] * 6, database.seconds(seconds))
    return cast(database.day(day) + since_midnight, DateTime)


def _own_time(database: Database, of: _Table) -> ColumnElement[Any]:
    """Return the local time at which a transaction says itself that it moved its stock."""
    return _local_time(database, of.c.confirm_date, of.c.confirm_time)


def _has_moved(of: _Table) -> ColumnElement[bool]:
    return and_(of.c.status.in_(_MOVED), of.c.type.in_(_TYPES))


@dataclass(frozen=True, slots=True)
class _Transactions:
    """The transactions of some stores that have moved stock, and when each of them counts.

    Where not ``all_readable``, a date that cannot be read comes as NULL, and is none on a day or later.
    """

    database: Database
    stores: CTE
    reading: Reading
    all_readable: bool

    def moved(self, first_day: date | None) -> CTE:
        """Select all of them, or those that count on a day or later and a few besides."""
        # A day earlier, because one that the time zone left out counts as the beginning of the next.
        at_least = None if first_day is None else literal(add_days(first_day, -1), Date)
        moved = self._moved_themselves(at_least)
        if not self.database.has(CANCELLING):
            return moved.cte("moved_transaction").prefix_with("MATERIALIZED")
        is_cancellation = self.database.flag(transact.c.is_cancellation)
        both = union_all(moved.where(~is_cancellation), self._moved_with_another(at_least))
        return both.cte("moved_transaction").prefix_with("MATERIALIZED")

    def _moved_themselves(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        day = self.database.day(transact.c.confirm_date)
        local_time = self._placed(transact)
        transactions = self._select(local_time)
        if at_least is None:
            return transactions.where(day.is_not(None))
        # By the day itself, which may have an index. None counts later than it says.
        transactions = transactions.where(day >= at_least)
        return transactions if self.all_readable else transactions.where(local_time.is_not(None))

    def _moved_with_another(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select those that cancel another: they count when the other does, where that is known."""
        database, cancelled = self.database, transact.alias("cancelled")
        local_time = func.coalesce(self._placed(cancelled), self._placed(transact))
        transactions = (
            self._select(local_time)
            .outerjoin(
                cancelled,
                and_(
                    database.identifier(cancelled.c.id)
                    == database.identifier(transact.c.linked_transaction_id),
                    _has_moved(cancelled),
                    ~is_unreadable_instant(_own_time(database, cancelled)),
                ),
            )
            .where(
                database.flag(transact.c.is_cancellation),
                database.day(transact.c.confirm_date).is_not(None),
            )
        )
        return transactions if at_least is None else transactions.where(local_time >= at_least)

    def _select(self, local_time: ColumnElement[Any]) -> Select[Any]:
        database, stores = self.database, self.stores
        return (
            select(
                database.identifier(transact.c.id).label("id"),
                stores.c.number,
                _kind(database).label("kind"),
                local_time.label("local_time"),
            )
            .join_from(transact, stores, stores.c.id == database.identifier(transact.c.store_id))
            .where(_has_moved(transact))
        )

    def _placed(self, of: _Table) -> ColumnElement[Any]:
        created = _local_time(self.database, of.c.entry_date, of.c.entry_time)
        own = _own_time(self.database, of)
        readable = own if self.all_readable else case((is_unreadable_instant(own), None), else_=own)
        return self.reading.placed(readable, created)


def _moved_lines(
    database: Database, transactions: CTE, items: CTE, *columns: ColumnElement[Any]
) -> Select[Any]:
    """Select the lines of transactions that move stock. A placeholder, service or non_stock line moves none."""
    return (
        select(_pair(transactions, items), *columns)
        .select_from(trans_line)
        .join(transactions, transactions.c.id == database.identifier(trans_line.c.transaction_id))
        .join(items, items.c.id == database.identifier(trans_line.c.item_id))
        .where(
            trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]),
            database.number(trans_line.c.quantity) != literal_column("0"),
        )
    )


def _signed_packs(database: Database) -> ColumnElement[float]:
    """Return the packs that a line moves, + in. A cancellation may come as a negative quantity, which turns the sign."""
    packs = database.number(trans_line.c.quantity)
    return case((trans_line.c.type == _code("stock_in"), packs), else_=-packs)


def _movements(database: Database, transactions: CTE, items: CTE) -> Select[Any]:
    packs = _signed_packs(database)
    of_build = case(
        (packs > literal_column("0"), _code(MovementKind.INVENTORY_ADDITION.value)),
        else_=_code(MovementKind.INVENTORY_REDUCTION.value),
    )
    lines = _moved_lines(
        database,
        transactions,
        items,
        transactions.c.local_time,
        func.coalesce(transactions.c.kind, of_build).label("kind"),
        packs.label("packs"),
        database.number(trans_line.c.pack_size).label("pack_size"),
        func.nullif(database.text(trans_line.c.item_line_id), literal("", Text)).label("item_line_id"),
    ).cte("line")
    return select(*lines.c).order_by(lines.c.pair)


def _totals(database: Database, transactions: CTE, items: CTE) -> Select[Any]:
    """Sum all that ever moved, exactly, and find the first movement in of more than 0 units.

    Whole packs of whole pack sizes, nearly all that there are, are multiplied as integers; the rest by way of
    their decimals, which costs more.
    """
    packs = _signed_packs(database)
    pack_size = func.coalesce(database.number(trans_line.c.pack_size), literal_column("0"))
    small = and_(func.abs(packs) < _PLAIN_PACKS, func.abs(pack_size) < _PLAIN_PACK_SIZE)
    plain = and_(small, packs == func.round(packs), pack_size == func.round(pack_size))
    units = exact_micro_units(packs, pack_size)
    identifier = (
        text_of(trans_line.c.id)
        if database.has(IDENTIFYING)
        else literal("of the transaction ", Text) + text_of(trans_line.c.transaction_id)
    )
    lines = _moved_lines(
        database,
        transactions,
        items,
        transactions.c.local_time,
        case((plain, cast(packs * pack_size, BigInteger)), else_=None).label("whole"),
        case((plain, None), else_=units).label("parts"),
        case((small, None), (units.is_(None), identifier), else_=None).label("unreadable"),
    ).cte("line")
    is_in = or_(lines.c.whole > 0, lines.c.parts > 0)
    return (
        select(
            lines.c.pair,
            func.sum(lines.c.whole),
            literal_column("0"),
            func.sum(lines.c.parts),
            func.min(lines.c.local_time).filter(is_in),
            func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
        )
        .group_by(lines.c.pair)
        .order_by(lines.c.pair)
    )
