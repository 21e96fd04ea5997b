"""The few expressions that SQLite and PostgreSQL write differently, so that each query is written once."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, override

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Join
from sqlalchemy.types import TypeDecorator, TypeEngine

from msupply_dhis2.metrics.quantity import MOST_UNITS, to_units

type Expression = sa.ColumnElement[Any]
type Query = sa.Select[*tuple[Any, ...]]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)


def units_or_none(packs: Any, pack_size: Any) -> int | None:  # noqa: ANN401 - SQLite keeps anything in any column
    """Multiply as ``to_units`` does; ``None`` where that refuses."""
    try:
        return to_units(packs, pack_size)
    except (TypeError, ValueError):
        return None


def read_instant(value: object) -> datetime:
    """Read an instant as either database has it; digits below a microsecond are dropped.

    ``ValueError``: it is neither a timestamp without a zone nor text as ``YYYY-MM-DD[ HH:MM[:SS[.fffffffff]]]``.
    """
    if isinstance(value, datetime) and value.tzinfo is None:
        return value
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return datetime.fromisoformat(value)
    raise ValueError(value)


def _is_unreadable(value: object) -> bool:
    try:
        read_instant(value)
    except ValueError:
        return True
    return False


_STOCK_TAKE_DATE = r'"date_stock_take"\s*:\s*"([^"]*)"'
"""In a record of the older mSupply, found without reading the JSON, which may be broken."""


def _stock_take_date_or_none(record: str) -> str | None:
    found = re.search(_STOCK_TAKE_DATE, record)
    return found and found[1]


SQLITE_FUNCTIONS: Mapping[str, tuple[int, Callable[..., int | str | None]]] = {
    "exact_micro_units": (2, units_or_none),
    "is_unreadable_instant": (1, _is_unreadable),
    "stock_take_date": (1, _stock_take_date_or_none),
}
"""What SQLite lacks, by name with the number of arguments: it does decimals and dates only roughly."""


class Instant(TypeDecorator[datetime]):
    """A naive instant in UTC: a timestamp in PostgreSQL, text in SQLite.

    As a parameter in SQLite it is the shortest text of the instant, which is no later than any other text of it, and
    later than every text of an earlier one: a date alone, any number of decimals. A T before the time counts as
    later than any time of that day, unless ``one_separator`` has taken it out: what passes the comparison for that
    is for the caller to drop. Values come out as the database has them: ``read_instant`` reads both.
    """

    impl = sa.String
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.DateTime() if dialect.name == "postgresql" else sa.String())

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        text = value.isoformat(sep=" ")
        text = text.rstrip("0").rstrip(".") if value.microsecond else text.removesuffix(":00")
        return text.removesuffix(" 00:00")


def _written(element: type[FunctionElement[Any]], **as_sql: Callable[..., str]) -> None:
    """Say how a function is written in the SQL of each database, from the SQL of its arguments."""
    for dialect, write in as_sql.items():

        @compiles(element, dialect)
        def _(
            found: FunctionElement[Any],
            compiler: SQLCompiler,
            write: Callable[..., str] = write,
            **options: object,
        ) -> str:
            return write(*[compiler.process(clause, **options) for clause in found.clauses])


class exact_micro_units(FunctionElement[Any]):  # noqa: N801 - SQL functions are written in small letters
    """Packs times pack size in millionths, rounded as ``to_units`` does: from the decimals that the floats print as.

    NULL where either is no finite number, or the product more than ``MOST_UNITS``. So it always has room in 64 bits,
    which a sum of some does not.
    """

    type = sa.BigInteger()
    inherit_cache = True


def _exact_micro_units(*numbers: str) -> str:
    # A float that is cast straight to numeric is cut to 15 digits; its text has them all.
    product = " * ".join(f"CAST(CAST({number} AS TEXT) AS NUMERIC)" for number in numbers)
    is_nothing = " OR ".join(f"{number} = 0" for number in numbers)
    # NaN counts as greater than infinity. Half a millionth more than the most is rounded up, and too much.
    is_readable = " AND ".join(
        (*(f"abs({number}) < 'Infinity'" for number in numbers), f"abs({product}) < {MOST_UNITS}.0000005")
    )
    return f"CASE WHEN {is_nothing} THEN 0 WHEN {is_readable} THEN CAST(round({product} * 1000000) AS BIGINT) END"


_written(exact_micro_units, sqlite="exact_micro_units({}, {})".format, postgresql=_exact_micro_units)


PLAIN_PACKS = 1e8
PLAIN_PACK_SIZE = 1e4
"""Finite numbers up to these never make too many units. Whole ones multiply exactly, as integers and as floats, and leave
room for a sum of nine million of them."""


def exact_quantity(
    packs: Expression, pack_size: Expression, small: sa.ColumnElement[bool], identifier: Expression
) -> tuple[Expression, ...]:
    """Return what a line moved for a total: ``whole`` units, else ``parts`` in millionths, else the id as ``unreadable``.

    Whole packs of whole pack sizes, nearly all that there are, are multiplied as integers where both are ``small`` (no
    larger than ``PLAIN_PACKS`` and ``PLAIN_PACK_SIZE``); the rest by way of their decimals, which costs more.
    """
    plain = sa.and_(small, packs == sa.func.round(packs), pack_size == sa.func.round(pack_size))
    units = exact_micro_units(packs, pack_size)
    return (
        sa.case((plain, sa.cast(packs * pack_size, sa.BigInteger)), else_=None).label("whole"),
        sa.case((plain, None), else_=units).label("parts"),
        sa.case((small, None), (units.is_(None), identifier), else_=None).label("unreadable"),
    )


class is_unreadable_instant(FunctionElement[bool]):  # noqa: N801 - as above
    """Whether an instant that is not NULL cannot be read."""

    type = sa.Boolean()
    inherit_cache = True


_written(
    is_unreadable_instant,
    sqlite="is_unreadable_instant({})".format,
    # What Python has no instant for: infinity, and years of five digits.
    postgresql="({} NOT BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999')".format,
)


class stock_take_date(FunctionElement[str]):  # noqa: N801 - as above
    """The text after ``date_stock_take`` in a record of a requisition; NULL where it is not there."""

    type = sa.Text()
    inherit_cache = True


_written(
    stock_take_date,
    sqlite="stock_take_date({})".format,
    postgresql=f"substring({{}} from '{_STOCK_TAKE_DATE}')".format,
)


class one_separator(FunctionElement[Any]):  # noqa: N801 - as above
    """An instant in the one form in which texts order as instants do."""

    type = Instant()
    inherit_cache = True


_written(one_separator, sqlite="replace({}, 'T', ' ')".format, postgresql="{}".format)


class JoinInOrder(Join):
    """A join that SQLite does from left to right: it reads the table on the left once, and looks up the rest.

    Without statistics SQLite takes all tables for equally large, and would rather make an index of the largest
    one for each query. PostgreSQL knows better and has no need to be told.
    """

    inherit_cache = True


@compiles(JoinInOrder, "sqlite")
def _join_in_order_sqlite(join: JoinInOrder, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - theirs
    # https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join
    joins = [join]
    while isinstance(left := joins[-1].left, JoinInOrder):
        joins.append(left)
    sql = compiler.process(left, **options | {"asfrom": True})
    for each in reversed(joins):
        right = compiler.process(each.right, **options | {"asfrom": True})
        assert each.onclause is not None  # noqa: S101 - tells mypy: always given here
        sql = f"{sql} CROSS JOIN {right} ON {compiler.process(each.onclause, **options)}"
    return sql


def text_of(expression: Expression) -> sa.ColumnElement[str]:
    """Return a column as text: types and statuses are enumerations in PostgreSQL, documents may be JSON."""
    return sa.cast(expression, sa.Text)


class _entries(FunctionElement[Any]):  # noqa: N801 - as above
    """Ids and their numbers as a table ``(key, value)``: of one JSON document in SQLite, of two arrays in PostgreSQL.

    PostgreSQL sees how long an array is before it plans, and takes every document for a hundred rows long: with the
    arrays it looks the lines of a few stores up instead of reading those of all.
    """

    inherit_cache = True


_written(
    _entries,
    sqlite="json_each({0})".format,
    postgresql="(SELECT key, value FROM unnest({1}, {2}) AS entry (key, value))".format,
)


def numbered(name: str, numbers: Mapping[str, int]) -> sa.CTE:
    """Hand ids and their numbers to the database as a parameter or two, to be joined as a table ``(id, number)``.

    Not one by one, because the number of parameters is limited (SQLite 32,766, PostgreSQL 65,535) and a nation has
    more items than that allows for.
    """
    entries = _entries(
        sa.bindparam(name, dict(numbers), type_=sa.JSON),
        sa.bindparam(f"{name}_ids", list(numbers), type_=sa.ARRAY(sa.Text)),
        sa.bindparam(f"{name}_numbers", list(numbers.values()), type_=sa.ARRAY(sa.BigInteger)),
    ).table_valued(sa.column("key", sa.Text), sa.column("value", sa.BigInteger), name=f"{name}_entries")
    query = sa.select(entries.c.key.label("id"), entries.c.value.label("number"))
    return query.cte(name).prefix_with("MATERIALIZED")


def materialized(query: Query | sa.CompoundSelect[*tuple[Any, ...]], name: str) -> sa.CTE:
    """Return a query as a table that is worked out once."""
    return query.cte(name).prefix_with("MATERIALIZED")
