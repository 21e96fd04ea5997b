"""Where the older mSupply's mirror keeps what histories are made of.

Its instants are dates and seconds of the day in local time; they leave the database so, and the calendar makes
instants of them.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import NamedFromClause

from msupply_dhis2.domain.stock import MovementKind
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
from msupply_dhis2.source.queries import Invoices, Lines, StockLines, StockQueries
from msupply_dhis2.source.sql import Expression, Query, text_of

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


class MirrorQueries(StockQueries):
    """The queries of a mirror."""

    kinds = {kind.value: kind for kind in MovementKind}  # noqa: RUF012 - never changed
    names = TYPES
    instant_is = "date"

    def __init__(
        self,
        database: Database,
        stores: Mapping[str, int],
        items: Mapping[str, int],
        next_instant: datetime,
        midnight: datetime,
        floor: date,
    ) -> None:
        super().__init__(stores, items, next_instant, midnight)
        self._database = database
        self._id = identifier = database.identifier
        self.stock_line = StockLines(
            table=item_line,
            quantity="quantity or pack_size",
            id=identifier(item_line.c.id),
            store_id=identifier(item_line.c.store_id),
            item_id=identifier(item_line.c.item_id),
            packs=database.number(item_line.c.quantity),
            pack_size=database.number(item_line.c.pack_size),
            expiry_date=database.expiry(item_line.c.expiry_date),
        )
        packs = database.number(trans_line.c.quantity)
        line_id: Expression = text_of(trans_line.c.id)
        if not database.has(Feature.IDENTIFYING):
            line_id = sa.literal("of the transaction ", sa.Text) + text_of(trans_line.c.transaction_id)
        self.line = Lines(
            table=trans_line,
            quantity="quantity or pack_size",
            id=line_id,
            invoice_id=identifier(trans_line.c.transaction_id),
            item_id=identifier(trans_line.c.item_id),
            stock_line_id=sa.func.nullif(database.text(trans_line.c.item_line_id), sa.literal("", sa.Text)),
            # A cancellation may come as a negative quantity, which turns the sign.
            packs=packs,
            pack_size=database.number(trans_line.c.pack_size),
            # A placeholder, service or non_stock line moves none.
            moves=sa.and_(trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]), packs != _ZERO),
            is_in=trans_line.c.type == _code("stock_in"),
        )
        self.invoice = self._invoices_of(transact)
        self.store_id = identifier(transact.c.store_id)
        self.kind = self._kind()
        self.invoice_type = text_of(transact.c.type)
        self.number = text_of(transact.c.invoice_num if database.has(Feature.NUMBERING) else transact.c.id)
        own_day = database.day(transact.c.confirm_date)
        self.lacks_instant = own_day.is_(None)
        self.stored = text_of(transact.c.confirm_date)
        self.stored_in = _code("confirm_date")
        self.floor = sa.literal(floor, sa.Date)
        # By the day itself, which may have an index.
        self.since_floor = own_day >= self.floor
        self.is_receipt_without_date = None
        if database.has(Feature.EXPIRING):
            # Without the stock lines of its lines nobody can tell.
            self.is_receipt_without_date = sa.and_(
                self.kind == _code(MovementKind.INBOUND_SHIPMENT),
                transact.c.status == _code("nw"),
                own_day.is_(None),
            )
        self.cancelled = None
        if database.has(Feature.CANCELLING):
            self.cancelled = self._invoices_of(transact.alias("cancelled"))
        self.is_cancellation = database.flag(transact.c.is_cancellation)
        self.cancels = identifier(transact.c.linked_transaction_id)

    def kind_of_line(self, kind: Expression, packs: Expression) -> Expression:
        """Return what a line is: those of a build tell by themselves whether they add or reduce."""
        of_build = sa.case(
            (packs > _ZERO, _code(MovementKind.INVENTORY_ADDITION)),
            else_=_code(MovementKind.INVENTORY_REDUCTION),
        )
        return sa.func.coalesce(kind, of_build)

    def visible_pairs(self) -> Query:
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

    def _invoices_of(self, of: _Table) -> Invoices:
        return Invoices(
            table=of,
            id=self._id(of.c.id),
            may_have_moved=sa.and_(of.c.status.in_(_MOVED), of.c.type.in_(_TYPES)),
            instant=self._local_time(of.c.confirm_date, of.c.confirm_time),
            created=self._local_time(of.c.entry_date, of.c.entry_time),
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
