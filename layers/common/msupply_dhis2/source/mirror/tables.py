"""The tables of the older mSupply's mirror, what each may be missing for, and reading columns whatever type they have.

The older mSupply's own export types its columns (dates are ``date``, quantities ``double precision``), but mirrors
that were filled from files hold text. What has the right type is read as it is, so that indexes and the planner's
statistics hold for it; the rest is cast, and none of the casts takes one thing for another in silence. Its instants
are dates and seconds of the day in local time; they leave the database so, and the calendar makes instants of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import NamedFromClause

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.queries import Invoices, Lines, StockLines, StockQueries
from msupply_dhis2.source.selection import USER_FIELDS
from msupply_dhis2.source.sql import Expression, Query, text_of

REQUIRED: Mapping[str, Sequence[str]] = {
    "item": ("id", "code", "item_name", "type_of"),
    "store": ("id", "code", "name", "custom_data"),
    # Tells inventory adjustments from receipts.
    "name": ("id", "code"),
    "item_line": ("id", "store_id", "item_id", "pack_size", "quantity"),
    "transact": ("id", "store_id", "name_id", "type", "status", "confirm_date", "confirm_time"),
    "trans_line": ("transaction_id", "item_id", "type", "quantity", "pack_size"),
}
"""Without these no value would be right."""


class Feature(Enum):
    """Something that is had only with certain tables and columns, what is done without, and the metrics that need it."""

    VISIBILITY = (
        {
            "store": ("name_id",),
            "list_master_name_join": ("list_master_id", "name_id"),
            "list_master_line": ("item_master_id", "item_id"),
        },
        (
            "it is not known which items are on a store's master lists, so only items that ever had stock or a "
            "movement in a store get values there"
        ),
    )
    HIDING = (
        {"item_store_join": ("item_id", "store_id", "inactive")},
        "items that are hidden in a store count as visible there",
    )
    DISABLING = ({"store": ("disabled",)}, "disabled stores with an org unit are sent too")
    DISPENSING = (
        {"transact": ("mode",)},
        "prescriptions count as outbound shipments; no metric changes",
    )
    NUMBERING = ({"transact": ("invoice_num",)}, "transactions are named by their id")
    EXPIRING = (
        {"item_line": ("expiry_date",), "trans_line": ("item_line_id",)},
        "it is not known when stock expires, so neither expired nor expiring stock is sent",
        frozenset({Metric.EXPIRED, Metric.EXPIRING}),
    )
    CANCELLING = (
        {"transact": ("is_cancellation", "linked_transaction_id")},
        "a transaction that cancels another counts at its own time, which may be in the next month",
    )
    ENTERING = (
        {"transact": ("entry_date", "entry_time")},
        (
            "it is not known when a transaction was entered, so one with a date after the run counts at the start of a "
            "day"
        ),
    )
    IDENTIFYING = ({"trans_line": ("id",)}, "lines of transactions are named by their transaction")

    def __init__(
        self, columns: Mapping[str, Sequence[str]], otherwise: str, metrics: frozenset[Metric] = frozenset()
    ) -> None:
        self.columns = columns
        self.otherwise = otherwise
        self.metrics = metrics


_ITEM_FIELDS = ("universalcodes_code", "custom_data", *sorted(USER_FIELDS))
"""Read where the settings ask for them."""


def _table(name: str) -> sa.TableClause:
    columns = [*REQUIRED.get(name, ())]
    for feature in Feature:
        columns += feature.columns.get(name, ())
    if name == "item":
        columns += _ITEM_FIELDS
    if name == "item_line":
        columns.append("batch")
    return sa.table(name, *(sa.column(each) for each in columns))


item = _table("item")
store = _table("store")
name = _table("name")
item_line = _table("item_line")
transact = _table("transact")
trans_line = _table("trans_line")
list_master_line = _table("list_master_line")
list_master_name_join = _table("list_master_name_join")
item_store_join = _table("item_store_join")

TABLES = tuple(dict.fromkeys((*REQUIRED, *(name for feature in Feature for name in feature.columns))))
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
_WHOLE_NUMBERS = frozenset({"smallint", "integer", "bigint"})
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "double precision"}
_TIMES = frozenset({"time without time zone", "interval"})

_LAST_SECOND = 86_399
_NOT_A_NUMBER: sa.ColumnElement[float] = sa.literal_column("CAST('NaN' AS DOUBLE PRECISION)", sa.Double)
_NUMBER = r"^[+-]?([0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})([eE][+-]?[0-9]{1,2})?$"
"""Not longer, because the database stops at a number that is out of its range."""
_UNREADABLE_DAY: Expression = sa.literal_column("DATE 'infinity'")

type Column = sa.ColumnClause[Any]


@dataclass(frozen=True, slots=True)
class Database:
    """The connection to a mirror, and how each of its columns is read."""

    connection: sa.Connection
    columns: Columns

    def missing(self, needed: Mapping[str, Sequence[str]]) -> list[str]:
        """Name what is not there of what is needed."""
        return [
            f"{table}.{column}" if table in self.columns else f"{table} (the whole table)"
            for table, columns in needed.items()
            for column in (columns if table in self.columns else columns[:1])
            if column not in self.columns.get(table, {})
        ]

    def has(self, feature: Feature) -> bool:
        """Return whether all is there that a feature takes."""
        return not self.missing(feature.columns)

    def warnings(self) -> Iterator[str]:
        """Yield which features are not to be had, and what is done without."""
        for feature in Feature:
            if missing := self.missing(feature.columns):
                yield lacks(missing, feature.otherwise)

    def missing_metrics(self) -> frozenset[Metric]:
        """Return the metrics that are not to be had."""
        return frozenset().union(*(feature.metrics for feature in Feature if not self.has(feature)))

    def identifier(self, column: Column) -> sa.ColumnElement[str]:
        """Read an id."""
        return column if self._type(column) in _TEXTS else text_of(column)

    def text(self, column: Column) -> Expression:
        """Read an optional column as text: NULL where it is not there."""
        return text_of(column) if self._type(column) is not None else sa.null()

    def number(self, column: Column) -> sa.ColumnElement[float]:
        """Read a number: NULL where it is blank, not a number where it is other text that is none."""
        kind = self._type(column)
        if kind == "double precision":
            return column
        if kind in _NUMBERS:
            return sa.cast(column, sa.Double)
        # The text of a real has the digits that were meant: 0.1, and not 0.10000000149.
        text = sa.func.btrim(text_of(column))
        return sa.case(
            (text == sa.literal("", sa.Text), sa.null()),
            (text.op("~")(_NUMBER), sa.cast(text, sa.Double)),
            (text.is_not(None), _NOT_A_NUMBER),
        )

    def flag(self, column: Column) -> sa.ColumnElement[bool]:
        """Read a yes or no; what is not there or NULL is a no."""
        kind = self._type(column)
        if kind is None:
            return sa.false()
        if kind == "boolean":
            return sa.func.coalesce(column, sa.false(), type_=sa.Boolean)
        if kind in _NUMBERS:
            return sa.func.coalesce(column != sa.literal_column("0"), sa.false(), type_=sa.Boolean)
        text = sa.func.lower(sa.func.btrim(text_of(column)))
        return sa.func.coalesce(text.in_(["true", "t", "1"]), sa.false(), type_=sa.Boolean)

    def day(self, column: Column) -> Expression:
        """Read a date: NULL where it is blank, 0000-00-00 or not there, infinite where it is text that is not a date."""
        kind = self._type(column)
        if kind is None:
            return sa.cast(sa.null(), sa.Date)
        if kind == "date":
            return column
        if kind in _TEXTS:
            return _day_of_text(sa.func.btrim(text_of(column)))
        return sa.cast(column, sa.Date)

    def expiry(self, column: Column) -> sa.ColumnElement[str]:
        """Read a date as text, NULL where it is not there: PostgreSQL has dates beyond those of Python."""
        kind = self._type(column)
        if kind is None:
            return sa.cast(sa.null(), sa.Text)
        if kind not in _TEXTS:
            return text_of(self.day(column))
        text = sa.func.btrim(text_of(column))
        return sa.case((_is_no_date(text), sa.null()), else_=text)

    def seconds(self, column: Column) -> Expression:
        """Read a time of the day as seconds: 0 where it is not known or not there, and never those of another day."""
        kind = self._type(column)
        if kind is None:
            return sa.literal_column("0")
        if kind in _NUMBERS:
            seconds: Expression = column
        elif kind in _TIMES:
            seconds = sa.extract("epoch", column)
        else:
            text = sa.func.btrim(text_of(column))
            hours, minutes, rest = (sa.func.split_part(text, ":", part) for part in (1, 2, 3))
            rest = sa.func.coalesce(sa.func.nullif(rest, sa.literal("", sa.Text)), "0")
            since_midnight = (
                sa.cast(hours, sa.Double) * 3600 + sa.cast(minutes, sa.Double) * 60 + sa.cast(rest, sa.Double)
            )
            seconds = sa.case(
                (text.op("~")(r"^\d{1,9}(\.\d+)?$"), sa.cast(text, sa.Double)),
                (text.op("~")(r"^\d\d?:\d\d(:\d\d(\.\d+)?)?$"), since_midnight),
            )
        return sa.func.least(sa.func.greatest(sa.func.coalesce(seconds, 0), 0), _LAST_SECOND)

    def _type(self, column: Column) -> str | None:
        table = column.table.element if isinstance(column.table, sa.Alias) else column.table
        assert isinstance(table, sa.TableClause)  # noqa: S101 - tells mypy: all are columns of tables
        return self.columns.get(table.name, {}).get(column.name)


def lacks(missing: list[str], otherwise: str) -> str:
    """Return what the mirror lacks, and what is done without."""
    return (
        f"The mirror lacks {', '.join(missing)}: {otherwise}. Let the older mSupply export it too if that "
        "matters."
    )


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
        self.batch = database.text(item_line.c.batch)
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
