"""The few expressions that SQLite and PostgreSQL write differently, so that each query is written once."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, override

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Join, NamedFromClause
from sqlalchemy.types import TypeDecorator, TypeEngine

from msupply_dhis2.metrics.quantity import MOST_UNITS, to_units

type Expression = sa.ColumnElement[Any]
type Column = sa.ColumnClause[Any]
type Table = NamedFromClause[ReadOnlyColumnCollection[str, Column]]
"""A table or an alias of one."""
type Query = sa.Select[*tuple[Any, ...]]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)


def read_instant(value: object) -> datetime:
    """Read an instant as either database has it; digits below a microsecond are dropped.

    ``ValueError``: it is neither a timestamp without a zone nor text as ``YYYY-MM-DD[ HH:MM[:SS[.fffffffff]]]``.
    """
    if isinstance(value, datetime) and value.tzinfo is None:
        return value
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return datetime.fromisoformat(value)
    raise ValueError(value)


_STOCK_TAKE_DATE = r'"date_stock_take"\s*:\s*"([^"]*)"'
"""In a record of the older mSupply, found without reading the JSON, which may be broken."""


def _or_none[Value](read: Callable[..., Value]) -> Callable[..., Value | None]:
    """Return what reads a value, and returns ``None`` where that cannot be read: SQLite keeps anything in any column."""

    def tried(*values: object) -> Value | None:
        try:
            return read(*values)
        except (TypeError, ValueError):
            return None

    return tried


_instant_or_none = _or_none(read_instant)

SQLITE_FUNCTIONS: Mapping[str, tuple[int, Callable[..., int | str | None]]] = {
    "exact_micro_units": (2, _or_none(to_units)),
    "is_unreadable_instant": (1, lambda value: _instant_or_none(value) is None),
    "stock_take_date": (1, lambda record: (found := re.search(_STOCK_TAKE_DATE, record)) and found[1]),
}
"""What SQLite lacks, by name with the number of arguments: it does decimals and dates only roughly."""


class Instant(TypeDecorator[datetime]):
    """A naive instant in UTC: a timestamp in PostgreSQL, text in SQLite.

    As a parameter in SQLite it is the shortest text of the instant: no later than any other text of it, and later than
    every text of an earlier one, but for a T before the time (see ``one_separator``). ``read_instant`` reads what comes out.
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


def _function(
    of_type: TypeEngine[Any], *, sqlite: Callable[..., str], postgresql: Callable[..., str]
) -> type[FunctionElement[Any]]:
    """Make a function that each database writes in its own way, from the SQL of its arguments."""

    class Function(FunctionElement[Any]):
        type = of_type
        inherit_cache = True

    def write(function: Function, compiler: SQLCompiler, **options: object) -> str:
        as_sql = sqlite if compiler.dialect.name == "sqlite" else postgresql
        return as_sql(*[compiler.process(clause, **options) for clause in function.clauses])

    compiles(Function)(write)
    return Function


def _exact_micro_units(*numbers: str) -> str:
    # A float that is cast straight to numeric is cut to 15 digits; its text has them all.
    product = " * ".join(f"CAST(CAST({number} AS TEXT) AS NUMERIC)" for number in numbers)
    is_nothing = " OR ".join(f"{number} = 0" for number in numbers)
    # NaN counts as greater than infinity. Half a millionth more than the most is rounded up, and too much.
    is_readable = " AND ".join(
        (*(f"abs({number}) < 'Infinity'" for number in numbers), f"abs({product}) < {MOST_UNITS}.0000005")
    )
    return f"CASE WHEN {is_nothing} THEN 0 WHEN {is_readable} THEN CAST(round({product} * 1000000) AS BIGINT) END"


exact_micro_units = _function(
    sa.BigInteger(), sqlite="exact_micro_units({}, {})".format, postgresql=_exact_micro_units
)
"""Packs times pack size in millionths, rounded as ``to_units`` does; NULL where either is no finite number, or the product
more than ``MOST_UNITS``. So it has room in 64 bits, which a sum of some has not."""

is_unreadable_instant = _function(
    sa.Boolean(),
    sqlite="is_unreadable_instant({})".format,
    # What Python has no instant for: infinity, and years of five digits.
    postgresql="({} NOT BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999')".format,
)
"""Whether an instant that is not NULL cannot be read."""

stock_take_date = _function(
    sa.Text(),
    sqlite="stock_take_date({})".format,
    postgresql=f"substring({{}} from '{_STOCK_TAKE_DATE}')".format,
)
"""The text after ``date_stock_take`` in a record of a requisition; NULL where it is not there."""

one_separator = _function(Instant(), sqlite="replace({}, 'T', ' ')".format, postgresql="{}".format)
"""An instant in the one form in which texts order as instants do."""

_entries = _function(
    sa.types.NullType(),
    sqlite="json_each({0})".format,
    postgresql="(SELECT key, value FROM unnest({1}, {2}) AS entry (key, value))".format,
)
"""Ids and their numbers as a table ``(key, value)``: of one JSON document in SQLite, of two arrays in PostgreSQL, which sees
how long these are before it plans."""

_PACKS = 1e8
_PACK_SIZE = 1e4
"""Finite numbers up to these never make too many units. Whole ones multiply exactly, as integers and as floats, and leave
room for a sum of nine million of them."""


def exact_quantity(packs: Expression, pack_size: Expression, row_id: Expression) -> tuple[Expression, ...]:
    """Return what a line moved for a total: ``whole`` units, else ``parts`` in millionths, else the id as ``unreadable``.

    Nearly all are whole and small, and are multiplied as integers; the rest by their decimals, which costs more.
    """
    pack_size = sa.func.coalesce(pack_size, sa.literal_column("0"))
    # Not by abs(), which is 0 for text in SQLite.
    small = sa.and_(packs.between(-_PACKS, _PACKS), pack_size.between(-_PACK_SIZE, _PACK_SIZE))
    plain = sa.and_(small, packs == sa.func.round(packs), pack_size == sa.func.round(pack_size))
    units = exact_micro_units(packs, pack_size)
    return (
        sa.case((plain, sa.cast(packs * pack_size, sa.BigInteger)), else_=None).label("whole"),
        sa.case((plain, None), else_=units).label("parts"),
        sa.case((small, None), (units.is_(None), row_id), else_=None).label("unreadable"),
    )


class JoinInOrder(Join):
    """A join that SQLite does from left to right: it reads the table on the left once, and looks up the rest.

    Without statistics SQLite takes all tables for equally large, and would rather make an index of the largest.
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


def numbered(name: str, numbers: Mapping[str, int]) -> sa.CTE:
    """Hand ids and their numbers to the database as a parameter or two, to be joined as a table ``(id, number)``.

    Not one by one: the number of parameters is limited (SQLite 32,766, PostgreSQL 65,535).
    """
    entries = _entries(
        sa.bindparam(name, dict(numbers), type_=sa.JSON),
        sa.bindparam(f"{name}_ids", list(numbers), type_=sa.ARRAY(sa.Text)),
        sa.bindparam(f"{name}_numbers", list(numbers.values()), type_=sa.ARRAY(sa.BigInteger)),
    ).table_valued(sa.column("key", sa.Text), sa.column("value", sa.BigInteger), name=f"{name}_entries")
    return materialized(sa.select(entries.c.key.label("id"), entries.c.value.label("number")), name)


def streamed(connection: sa.Connection, query: Query, at_a_time: int) -> sa.CursorResult[*tuple[Any, ...]]:
    """Ask for rows of which no more than some are in memory."""
    return connection.execute(query, execution_options={"stream_results": True, "yield_per": at_a_time})


def materialized(query: Query | sa.CompoundSelect[*tuple[Any, ...]], name: str) -> sa.CTE:
    """Return a query as a table that is worked out once."""
    return query.cte(name).prefix_with("MATERIALIZED")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which tables and views a database has, by name, and of each its columns with their types."""

    types: Mapping[str, Mapping[str, str]]

    def missing(self, columns: Iterable[Column]) -> list[str]:
        """Name which of some columns, or their whole tables, are not there."""
        lacking = [each for each in columns if self.type_of(each) is None]
        named = {
            f"{each}" if str(each.table) in self.types else f"{each.table} (the whole table)": None
            for each in lacking
        }
        return [*named]

    def type_of(self, column: Column) -> str | None:
        """Return the type of a column, also of an alias of its table; ``None`` where it is not there."""
        table: Any = getattr(column.table, "element", column.table)
        return self.types.get(table.name, {}).get(column.name)

    def has(self, *columns: Column) -> bool:
        """Return whether all these columns are there."""
        return None not in map(self.type_of, columns)

    def value(self, column: Column) -> Expression:
        """Select a column as it is: NULL where it is not there."""
        return sa.null() if self.type_of(column) is None else column

    def text(self, column: Column) -> Expression:
        """Select a column as text: NULL where it is not there."""
        return sa.null() if self.type_of(column) is None else text_of(column)


def table(name: str, columns: str) -> sa.TableClause:
    """Return a table with the columns that may be read (``"id code"``)."""
    kinds = {each: Instant() if each.endswith("_datetime") else None for each in columns.split()}
    return sa.table(name, *[sa.column(each, kind) for each, kind in kinds.items()])


def required_table(required: list[Column], name: str, columns: str, others: str = "") -> sa.TableClause:
    """Return a table, and add its columns to those without which nothing can be read; the ``others`` may be missing."""
    of = table(name, f"{columns} {others}")
    required.extend(of.c[each] for each in columns.split())
    return of
