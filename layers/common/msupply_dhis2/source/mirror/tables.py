"""The tables of the older mSupply's mirror, what each may be missing for, and reading columns whatever type they have.

The older mSupply's own export types its columns, but mirrors that were filled from files hold text. What has the right type is
read as it is, so that indexes and statistics hold for it; the rest is cast, and no cast takes one thing for another in
silence. Its instants are dates and seconds of the day in local time, and the calendar makes instants of them.
"""

from collections.abc import Sequence
from enum import Enum
from functools import partial

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.source.queries import Clock, Invoices, Lines, Numbers, StockLines, StockQueries
from msupply_dhis2.source.selection import USER_FIELDS
from msupply_dhis2.source.sql import Column, Columns, Expression, Query, Table, required_table, table, text_of

REQUIRED: list[Column] = []
"""Without these no value would be right."""

_required = partial(required_table, REQUIRED)

_USER_FIELDS = " ".join(sorted(USER_FIELDS))

item = _required("item", "id code item_name type_of", f"universalcodes_code custom_data {_USER_FIELDS}")
store = _required("store", "id code name custom_data", "name_id disabled")
name = _required("name", "id code")
"""Tells inventory adjustments from receipts."""
item_line = _required("item_line", "id store_id item_id pack_size quantity", "expiry_date batch")
transact = _required(
    "transact",
    "id store_id name_id type status confirm_date confirm_time",
    "mode invoice_num is_cancellation linked_transaction_id entry_date entry_time",
)
trans_line = _required("trans_line", "transaction_id item_id type quantity pack_size", "id item_line_id")
list_master_line = table("list_master_line", "item_master_id item_id")
list_master_name_join = table("list_master_name_join", "list_master_id name_id")
item_store_join = table("item_store_join", "item_id store_id inactive")


class Feature(Enum):
    """Something that is had only with certain columns, and what is done without."""

    VISIBILITY = (
        (store.c.name_id, *list_master_name_join.c, *list_master_line.c),
        "it is not known what is on a store's master lists, so only items that ever had stock or a movement there get values",
    )
    HIDING = (tuple(item_store_join.c), "items that are hidden in a store count as visible there")
    DISABLING = ((store.c.disabled,), "disabled stores with an org unit are sent too")
    DISPENSING = ((transact.c.mode,), "prescriptions count as outbound shipments; no metric changes")
    NUMBERING = ((transact.c.invoice_num,), "transactions are named by their id")
    EXPIRING = (
        (item_line.c.expiry_date, trans_line.c.item_line_id),
        "it is not known when stock expires, so neither expired nor expiring stock is sent",
    )
    CANCELLING = (
        (transact.c.is_cancellation, transact.c.linked_transaction_id),
        "a transaction that cancels another counts at its own time, which may be in the next month",
    )
    ENTERING = (
        (transact.c.entry_date, transact.c.entry_time),
        "it is not known when a transaction was entered, so one with a date after the run counts at the start of a day",
    )
    IDENTIFYING = ((trans_line.c.id,), "lines of transactions are named by their transaction")

    def __init__(self, columns: Sequence[Column], otherwise: str) -> None:
        self.columns, self.otherwise = columns, otherwise


TABLES = tuple(
    dict.fromkeys(
        str(each.table) for each in (*REQUIRED, *(column for each in Feature for column in each.columns))
    )
)
"""All that are read."""

TYPES = {
    "ci": "customer invoice",
    "si": "supplier invoice",
    "cc": "customer credit",
    "sc": "supplier credit",
    "sr": "repack",
    "bu": "build",
}
"""The types of transactions that move stock, as the older mSupply calls them."""

STATUSES = ("cn", "fn", "nw", "sg", "wp", "wf")
"""Confirmed and finalised have moved stock; new, suggested, and the two of orders from the web have not."""

_TEXTS = frozenset({"text", "character varying", "character"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "double precision"})

_LAST_SECOND = 86_399
_ZERO: Expression = sa.literal_column("0")
_NOT_A_NUMBER: sa.ColumnElement[float] = sa.literal_column("CAST('NaN' AS DOUBLE PRECISION)", sa.Double)
_NUMBER = r"^[+-]?([0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})([eE][+-]?[0-9]{1,2})?$"
"""Not longer, because the database stops at a number that is out of its range."""
_UNREADABLE_DAY: Expression = sa.literal_column("DATE 'infinity'")


class MirrorColumns(Columns):
    """The columns of a mirror, and how each is read."""

    def identifier(self, column: Column) -> sa.ColumnElement[str]:
        """Read an id."""
        return column if self.type_of(column) in _TEXTS else text_of(column)

    def number(self, column: Column) -> sa.ColumnElement[float]:
        """Read a number: NULL where it is blank or not there, not a number where it is other text that is none."""
        kind = self.type_of(column)
        if kind is None:
            return sa.cast(sa.null(), sa.Double)
        if kind == "double precision":
            return column
        if kind in _NUMBERS:
            return sa.cast(column, sa.Double)
        # The text of a real has the digits that were meant: 0.1, and not 0.10000000149.
        text = _stripped(column)
        return sa.case(
            (text == sa.literal("", sa.Text), sa.null()),
            (text.op("~")(_NUMBER), sa.cast(text, sa.Double)),
            (text.is_not(None), _NOT_A_NUMBER),
        )

    def flag(self, column: Column) -> sa.ColumnElement[bool]:
        """Read a yes or no; what is not there or NULL is a no."""
        kind = self.type_of(column)
        if kind is None:
            return sa.false()
        is_on: Expression = column
        if kind in _NUMBERS:
            is_on = column != _ZERO
        elif kind != "boolean":
            is_on = sa.func.lower(_stripped(column)).in_(["true", "t", "1"])
        return sa.func.coalesce(is_on, sa.false(), type_=sa.Boolean)

    def day(self, column: Column) -> Expression:
        """Read a date: NULL where it is blank, 0000-00-00 or not there, infinite where it is text that is not a date."""
        kind = self.type_of(column)
        if kind is None:
            return sa.cast(sa.null(), sa.Date)
        if kind == "date":
            return column
        return _day_of_text(_stripped(column)) if kind in _TEXTS else sa.cast(column, sa.Date)

    def expiry(self, column: Column) -> sa.ColumnElement[str]:
        """Read a date as text, NULL where it is not there: PostgreSQL has dates beyond those of Python."""
        if self.type_of(column) not in _TEXTS:
            return text_of(self.day(column))
        text = _stripped(column)
        return sa.case((_is_no_date(text), sa.null()), else_=text)

    def seconds(self, column: Column) -> Expression:
        """Read a time of the day as seconds: 0 where it is not known or not there, and never those of another day."""
        kind = self.type_of(column)
        if kind is None:
            return _ZERO
        seconds: Expression = column
        if kind not in _NUMBERS:
            text = _stripped(column)
            seconds = sa.case(
                (text.op("~")(r"^\d{1,9}(\.\d+)?$"), sa.cast(text, sa.Double)),
                (
                    text.op("~")(r"^\d\d?:[0-5]\d(:[0-5]\d(\.\d+)?)?$"),
                    sa.extract("epoch", sa.cast(text, sa.Interval)),
                ),
            )
        return sa.func.least(sa.func.greatest(sa.func.coalesce(seconds, 0), 0), _LAST_SECOND)


def _stripped(column: Column) -> sa.ColumnElement[str]:
    return sa.func.btrim(text_of(column))


def _is_no_date(text: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether there is none: NULL, blank, or what the older mSupply writes for it. Never NULL itself."""
    return sa.func.coalesce(sa.func.left(text, 10), "").in_(["", "0000-00-00"])


def _day_of_text(text: sa.ColumnElement[str]) -> Expression:
    first_of_month = sa.cast(sa.func.left(text, 7).concat("-01"), sa.Date)
    # A 31st of February becomes a day of March, which gives it away.
    day = first_of_month + (sa.cast(sa.func.substr(text, 9, 2), sa.Integer) - sa.literal_column("1"))
    return sa.case(
        (_is_no_date(text), sa.null()),
        (
            text.op("~")(r"^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([ T]|$)"),
            sa.case((text_of(day) == sa.func.left(text, 10), day), else_=_UNREADABLE_DAY),
        ),
        else_=_UNREADABLE_DAY,
    )


_INVENTORY_ADJUSTMENTS = "invad"
"""The code of the name that stands for counts of the stock."""


def _code(text: str) -> sa.ColumnElement[str]:
    """Write a code of mSupply into a statement, where the planner sees it and any type of column takes it."""
    return sa.literal_column(f"'{text}'")


_MOVED = [_code("cn"), _code("fn")]
"""Confirmed and finalised. Only these have moved stock."""


class MirrorQueries(StockQueries):
    """The queries of a mirror."""

    kinds = {kind.value: kind for kind in MovementKind}  # noqa: RUF012 - never changed
    names = TYPES
    instant_is = "date"

    def __init__(self, columns: MirrorColumns, numbers: Numbers, clock: Clock) -> None:
        super().__init__(numbers, clock)
        self._columns, self._id = columns, columns.identifier
        self.stock_line = StockLines(
            table=item_line,
            quantity="quantity or pack_size",
            id=self._id(item_line.c.id),
            store_id=self._id(item_line.c.store_id),
            item_id=self._id(item_line.c.item_id),
            packs=columns.number(item_line.c.quantity),
            pack_size=columns.number(item_line.c.pack_size),
            expiry_date=columns.expiry(item_line.c.expiry_date),
            batch=columns.text(item_line.c.batch),
        )
        packs = columns.number(trans_line.c.quantity)
        line_id: Expression = text_of(trans_line.c.id)
        if not columns.has(*Feature.IDENTIFYING.columns):
            line_id = sa.literal("of the transaction ", sa.Text) + text_of(trans_line.c.transaction_id)
        self.line = Lines(
            table=trans_line,
            quantity="quantity or pack_size",
            id=line_id,
            invoice_id=self._id(trans_line.c.transaction_id),
            item_id=self._id(trans_line.c.item_id),
            stock_line_id=sa.func.nullif(columns.text(trans_line.c.item_line_id), sa.literal("", sa.Text)),
            # A cancellation may come as a negative quantity, which turns the sign.
            packs=packs,
            pack_size=columns.number(trans_line.c.pack_size),
            # A placeholder, service or non_stock line moves none.
            moves=sa.and_(trans_line.c.type.in_([_code("stock_in"), _code("stock_out")]), packs != _ZERO),
            is_in=trans_line.c.type == _code("stock_in"),
        )
        self.invoice = self._invoices_of(transact)
        self.cancelled = None
        if columns.has(*Feature.CANCELLING.columns):
            self.cancelled = self._invoices_of(transact.alias("cancelled"))
        self.floor = sa.literal(clock.floor, sa.Date)
        # By the day itself, which may have an index.
        self.since_floor = columns.day(transact.c.confirm_date) >= self.floor

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
        if not self._columns.has(*Feature.VISIBILITY.columns):
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
        if self._columns.has(*Feature.HIDING.columns):
            pairs = pairs.where(
                ~sa.exists().where(
                    self._id(item_store_join.c.store_id) == stores.c.id,
                    self._id(item_store_join.c.item_id) == items.c.id,
                    self._columns.flag(item_store_join.c.inactive),
                )
            )
        return pairs.distinct().order_by(pair)

    def _invoices_of(self, of: Table) -> Invoices:
        columns, it = self._columns, of.c
        kind, day = self._kind(of), columns.day(it.confirm_date)
        is_new_receipt = sa.and_(kind == _code(MovementKind.INBOUND_SHIPMENT), it.status == _code("nw"))
        return Invoices(
            table=of,
            id=self._id(it.id),
            store_id=self._id(it.store_id),
            type=text_of(it.type),
            kind=kind,
            number=text_of(it.invoice_num if columns.has(*Feature.NUMBERING.columns) else it.id),
            may_have_moved=sa.and_(it.status.in_(_MOVED), it.type.in_([_code(each) for each in TYPES])),
            instant=self._local_time(it.confirm_date, it.confirm_time),
            stored=text_of(it.confirm_date),
            stored_in=_code("confirm_date"),
            lacks_instant=day.is_(None),
            created=self._local_time(it.entry_date, it.entry_time),
            is_cancellation=columns.flag(it.is_cancellation),
            cancels=self._id(it.linked_transaction_id),
            is_receipt_without_date=sa.and_(is_new_receipt, day.is_(None)),
        )

    def _local_time(self, day: Column, seconds: Column) -> Expression:
        since_midnight = sa.func.make_interval(*[_ZERO] * 6, self._columns.seconds(seconds))
        return sa.cast(self._columns.day(day) + since_midnight, sa.DateTime)

    def _kind(self, of: Table) -> sa.ColumnElement[str]:
        """Return what a transaction is; NULL for a build."""
        name_code = sa.func.lower(_stripped(name.c.code))
        counts = sa.select(self._id(name.c.id)).where(name_code == _INVENTORY_ADJUSTMENTS)
        counted = self._id(of.c.name_id).in_(counts)
        dispensed: sa.ColumnElement[bool] = sa.false()
        if self._columns.has(*Feature.DISPENSING.columns):
            dispensed = sa.func.lower(_stripped(of.c.mode)) == "dispensary"
        kinds = (
            ("si", MovementKind.INVENTORY_ADDITION, counted),
            ("sc", MovementKind.INVENTORY_REDUCTION, counted),
            ("ci", MovementKind.PRESCRIPTION, dispensed),
            ("ci", MovementKind.OUTBOUND_SHIPMENT, sa.true()),
            ("si", MovementKind.INBOUND_SHIPMENT, sa.true()),
            ("cc", MovementKind.CUSTOMER_RETURN, sa.true()),
            ("sc", MovementKind.SUPPLIER_RETURN, sa.true()),
            ("sr", MovementKind.REPACK, sa.true()),
        )
        cases = [(sa.and_(of.c.type == _code(code), also), _code(kind)) for code, kind, also in kinds]
        return sa.case(*cases)
