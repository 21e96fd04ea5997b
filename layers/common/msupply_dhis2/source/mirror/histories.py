"""What is asked of the older mSupply's mirror for the histories of its stock.

Its instants are dates and seconds of the day in local time; they leave the database so, and the calendar makes
instants of them.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
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

from msupply_dhis2.errors import SourceError
from msupply_dhis2.periods import Calendar, add_days
from msupply_dhis2.source.catalogue import Scope
from msupply_dhis2.source.expressions import (
    GREATEST,
    exact_micro_units,
    is_unreadable_instant,
    numbered,
    text_of,
)
from msupply_dhis2.source.histories import Numbers, Oddities, Statements, read_histories
from msupply_dhis2.source.mirror.columns import Database
from msupply_dhis2.source.mirror.tables import (
    DISPENSING,
    HIDING,
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
from msupply_dhis2.stock import GroupHistory, MovementKind, Store

_PLAIN_PACKS = 1e9
_PLAIN_PACK_SIZE = 1e6
"""Whole numbers below these multiply exactly, as integers and as floats, and leave room for the sum."""

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
    database: Database, scope: Scope, floor: datetime, calendar: Calendar, oddities: Oddities
) -> Iterator[GroupHistory]:
    """Stream the groups of a scope (see ``Source.histories``), noting what is odd on the way.

    Raises
    ------
    SourceError
        A transaction's date, or a quantity, cannot be read.
    """
    numbers = Numbers.of(scope)
    stores = numbered("scope_store", numbers.stores)
    items = numbered("scope_item", numbers.items)
    oddities.moved_without_instant = _check_dates(database, scope, stores)
    statements = Statements(
        visible_pairs=_visible_pairs(database, stores, items),
        stock_lines=_stock_lines(database, stores, items),
        movements=_movements(database, stores, items, calendar.day_of(floor)),
        totals=_totals(database, stores, items),
        numbers_of_stock="quantity or pack_size of a row of item_line",
        numbers_of_movements="quantity or pack_size of a row of trans_line",
        read_instant=lru_cache(maxsize=65_536)(calendar.instant_at),
        kinds=_KINDS,
    )
    yield from read_histories(database.connection, numbers, floor, statements, oddities)


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


def _check_dates(database: Database, scope: Scope, stores: CTE) -> tuple[str, ...]:
    """Make sure that every date can be read, and name the transactions that have moved without one."""
    day = database.day(transact.c.confirm_date)
    unreadable = is_unreadable_instant(cast(day, DateTime))
    number = transact.c.invoice_num if database.has(NUMBERING) else transact.c.id
    transactions = (
        select(
            stores.c.id.label("store_id"),
            text_of(transact.c.type).label("type"),
            text_of(number).label("invoice_num"),
            text_of(transact.c.confirm_date).label("confirm_date"),
            day.is_(None).label("lacks_it"),
        )
        .join(stores, stores.c.id == database.identifier(transact.c.store_id))
        .where(
            transact.c.status.in_(_MOVED),
            transact.c.type.in_(_TYPES),
            or_(day.is_(None), unreadable),
        )
        .order_by(stores.c.number, number)
    )
    codes = {each.id: each.code for org_unit in scope.org_units for each in org_unit.stores}
    lacking = []
    for row in database.connection.execute(transactions):
        named = f"{codes[row.store_id]} {TYPES[row.type]} {row.invoice_num}"
        if not row.lacks_it:
            raise SourceError(
                f"mSupply's database: confirm_date of a transaction cannot be read as a date ({row.confirm_date!r}): "
                f"{named} (store, type and number of the transaction). Ask whoever looks after mSupply to correct it."
            )
        lacking.append(named)
    return tuple(lacking)


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
    """Tell what a transaction is; a build's lines tell by themselves whether they add or reduce."""
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


def _moved_transactions(database: Database, stores: CTE, first_day: date | None) -> CTE:
    """Select the transactions that have moved stock, or those that have on a day or later."""
    day = database.day(transact.c.confirm_date)
    local_time = day + func.make_interval(
        *[literal_column("0")] * 6, database.seconds(transact.c.confirm_time)
    )
    return (
        select(
            database.identifier(transact.c.id).label("id"),
            stores.c.number,
            _kind(database).label("kind"),
            cast(local_time, DateTime).label("local_time"),
        )
        .join(stores, stores.c.id == database.identifier(transact.c.store_id))
        .where(
            transact.c.status.in_(_MOVED),
            transact.c.type.in_(_TYPES),
            day.is_not(None) if first_day is None else day >= literal(first_day, Date),
        )
        .cte("moved_transaction")
        .prefix_with("MATERIALIZED")
    )


def _moved_lines(
    database: Database, transactions: CTE, items: CTE, *columns: ColumnElement[Any]
) -> Select[Any]:
    """Select the lines of transactions that move stock. A placeholder, service or non_stock line moves none."""
    return (
        select(_pair(transactions, items), transactions.c.local_time, *columns)
        .select_from(trans_line)
        .join(transactions, transactions.c.id == database.identifier(trans_line.c.transaction_id))
        .join(items, items.c.id == database.identifier(trans_line.c.item_id))
        .where(
            trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]),
            database.number(trans_line.c.quantity) != literal_column("0"),
        )
    )


def _signed_packs(database: Database) -> ColumnElement[float]:
    """Give the packs that a line moves, + in. A cancellation may come as a negative quantity, which turns the sign."""
    packs = database.number(trans_line.c.quantity)
    return case((trans_line.c.type == _code("stock_in"), packs), else_=-packs)


def _movements(database: Database, stores: CTE, items: CTE, first_day: date) -> Select[Any]:
    # A day earlier, because one that the time zone left out counts as the beginning of the next.
    transactions = _moved_transactions(database, stores, add_days(first_day, -1))
    packs = _signed_packs(database)
    of_build = case(
        (packs > literal_column("0"), _code(MovementKind.INVENTORY_ADDITION.value)),
        else_=_code(MovementKind.INVENTORY_REDUCTION.value),
    )
    lines = _moved_lines(
        database,
        transactions,
        items,
        func.coalesce(transactions.c.kind, of_build).label("kind"),
        packs.label("packs"),
        database.number(trans_line.c.pack_size).label("pack_size"),
        func.nullif(database.text(trans_line.c.item_line_id), literal("", Text)).label("item_line_id"),
    ).cte("line")
    return select(*lines.c).order_by(lines.c.pair)


def _totals(database: Database, stores: CTE, items: CTE) -> Select[Any]:
    """Sum all that ever moved, exactly, and find the first movement in of more than 0 units.

    Whole packs of whole pack sizes, nearly all that there are, are multiplied as integers; the rest by way of
    their decimals, which costs more.
    """
    transactions = _moved_transactions(database, stores, None)
    packs = _signed_packs(database)
    pack_size = func.coalesce(database.number(trans_line.c.pack_size), literal_column("0"))
    plain = and_(
        func.abs(packs) < _PLAIN_PACKS,
        func.abs(pack_size) < _PLAIN_PACK_SIZE,
        packs == func.round(packs),
        pack_size == func.round(pack_size),
    )
    lines = _moved_lines(
        database,
        transactions,
        items,
        case((plain, cast(packs * pack_size, BigInteger)), else_=None).label("whole"),
        case((plain, None), else_=exact_micro_units(packs, pack_size)).label("parts"),
        # By itself: to look at the two before would work them out once more for each line.
        and_(func.abs(packs) <= GREATEST, func.abs(pack_size) <= GREATEST).label("finite"),
    ).cte("line")
    is_in = or_(lines.c.whole > 0, lines.c.parts > 0)
    return (
        select(
            lines.c.pair,
            func.sum(lines.c.whole),
            func.sum(lines.c.parts),
            func.min(lines.c.local_time).filter(is_in),
            func.count().filter(~lines.c.finite),
        )
        .group_by(lines.c.pair)
        .order_by(lines.c.pair)
    )
