"""Reading the mirror's columns whatever type they have.

The older mSupply's own export types its columns (dates are ``date``, quantities ``double precision``), but mirrors
that were filled from files hold text. What has the right type is read as it is, so that indexes and the planner's
statistics hold for it; the rest is cast, and none of the casts takes one thing for another in silence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Alias,
    Boolean,
    ColumnClause,
    ColumnElement,
    Connection,
    Date,
    Double,
    Integer,
    TableClause,
    Text,
    case,
    cast,
    extract,
    false,
    func,
    literal,
    literal_column,
    null,
)

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.mirror.tables import FEATURES, Feature
from msupply_dhis2.source.sql import text_of

_TEXTS = frozenset({"text", "character varying", "character"})
_WHOLE_NUMBERS = frozenset({"smallint", "integer", "bigint"})
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "double precision"}
_TIMES = frozenset({"time without time zone", "interval"})

_LAST_SECOND = 86_399
_NOT_A_NUMBER: ColumnElement[float] = literal_column("CAST('NaN' AS DOUBLE PRECISION)", Double)
_NUMBER = r"^[+-]?([0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})([eE][+-]?[0-9]{1,2})?$"
"""Not longer, because the database stops at a number that is out of its range."""
_UNREADABLE_DAY: ColumnElement[Any] = literal_column("DATE 'infinity'")

type Column = ColumnClause[Any]


@dataclass(frozen=True, slots=True)
class Database:
    """The connection to a mirror, and how each of its columns is read."""

    connection: Connection
    columns: Columns

    def missing(self, needed: Mapping[str, tuple[str, ...]]) -> list[str]:
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
        for feature in FEATURES:
            missing = self.missing(feature.columns)
            if missing:
                yield lacks(missing, feature.otherwise)

    def missing_metrics(self) -> frozenset[Metric]:
        """Return the metrics that are not to be had."""
        return frozenset().union(*(feature.metrics for feature in FEATURES if not self.has(feature)))

    def identifier(self, column: Column) -> ColumnElement[str]:
        """Read an id."""
        return column if self._type(column) in _TEXTS else text_of(column)

    def text(self, column: Column) -> ColumnElement[Any]:
        """Read an optional column as text: NULL where it is not there."""
        return text_of(column) if self._type(column) is not None else null()

    def number(self, column: Column) -> ColumnElement[float]:
        """Read a number: NULL where it is blank, not a number where it is other text that is none."""
        kind = self._type(column)
        if kind == "double precision":
            return column
        if kind in _NUMBERS:
            return cast(column, Double)
        # The text of a real has the digits that were meant: 0.1, and not 0.10000000149.
        text = func.btrim(text_of(column))
        return case(
            (text == literal("", Text), null()),
            (text.op("~")(_NUMBER), cast(text, Double)),
            (text.is_not(None), _NOT_A_NUMBER),
        )

    def flag(self, column: Column) -> ColumnElement[bool]:
        """Read a yes or no; what is not there or NULL is a no."""
        kind = self._type(column)
        if kind is None:
            return false()
        if kind == "boolean":
            return func.coalesce(column, false(), type_=Boolean)
        if kind in _NUMBERS:
            return func.coalesce(column != literal_column("0"), false(), type_=Boolean)
        text = func.lower(func.btrim(text_of(column)))
        return func.coalesce(text.in_(["true", "t", "1"]), false(), type_=Boolean)

    def day(self, column: Column) -> ColumnElement[Any]:
        """Read a date: NULL where it is blank, 0000-00-00 or not there, infinite where it is text that is no date."""
        kind = self._type(column)
        if kind is None:
            return cast(null(), Date)
        if kind == "date":
            return column
        if kind in _TEXTS:
            return _day_of_text(func.btrim(text_of(column)))
        return cast(column, Date)

    def expiry(self, column: Column) -> ColumnElement[str]:
        """Read a date as text: PostgreSQL has dates beyond those of Python, and a slip of the keyboard makes one.

        NULL where it is not there.
        """
        kind = self._type(column)
        if kind is None:
            return cast(null(), Text)
        if kind not in _TEXTS:
            return text_of(self.day(column))
        text = func.btrim(text_of(column))
        return case((_is_no_date(text), null()), else_=text)

    def seconds(self, column: Column) -> ColumnElement[Any]:
        """Read a time of the day as seconds: 0 where it is not known or not there, and never those of another day."""
        kind = self._type(column)
        if kind is None:
            return literal_column("0")
        if kind in _NUMBERS:
            seconds: ColumnElement[Any] = column
        elif kind in _TIMES:
            seconds = extract("epoch", column)
        else:
            text = func.btrim(text_of(column))
            seconds = case(
                (text.op("~")(r"^\d{1,9}(\.\d+)?$"), cast(text, Double)),
                (
                    text.op("~")(r"^\d\d?:\d\d(:\d\d(\.\d+)?)?$"),
                    cast(func.split_part(text, ":", 1), Double) * 3600
                    + cast(func.split_part(text, ":", 2), Double) * 60
                    + cast(
                        func.coalesce(func.nullif(func.split_part(text, ":", 3), literal("", Text)), "0"),
                        Double,
                    ),
                ),
            )
        return func.least(func.greatest(func.coalesce(seconds, 0), 0), _LAST_SECOND)

    def _type(self, column: Column) -> str | None:
        table = column.table.element if isinstance(column.table, Alias) else column.table
        assert isinstance(table, TableClause)  # noqa: S101 - tells mypy: all are columns of tables
        return self.columns.get(table.name, {}).get(column.name)


def lacks(missing: list[str], otherwise: str) -> str:
    """Return what the mirror lacks, and what is done without."""
    return (
        f"The mirror lacks {', '.join(missing)}: {otherwise}. Let the older mSupply export it too if that "
        "matters."
    )


def _is_no_date(text: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether there is none: NULL, blank, or what the older mSupply writes for it. Never NULL itself."""
    return func.coalesce(func.left(text, 10), "").in_(["", "0000-00-00"])


def _day_of_text(text: ColumnElement[str]) -> ColumnElement[Any]:
    first_of_month = cast(func.left(text, 7).concat("-01"), Date)
    # A 31st of February becomes a day of March, which gives it away.
    day = first_of_month + (cast(func.substr(text, 9, 2), Integer) - literal_column("1"))
    return case(
        (_is_no_date(text), null()),
        (
            text.op("~")(r"^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([ T]|$)"),
            case((text_of(day) == func.left(text, 10), day), else_=_UNREADABLE_DAY),
        ),
        else_=_UNREADABLE_DAY,
    )
