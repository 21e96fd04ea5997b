"""Tables that are made once, and are there and empty for each test: to make them costs a hundred times as much."""

from functools import cache
from pathlib import Path

import sqlalchemy as sa

_shapes: dict[tuple[str, str], str] = {}
"""What the tables of a schema looked like when they were made, by the address of their database."""


_engines: dict[str, sa.Engine] = {}


def engine_of(url: str) -> sa.Engine:
    """Return the engine of a database in PostgreSQL, which keeps its connections."""
    if url not in _engines:
        _engines[url] = sa.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"),
            pool_pre_ping=True,
            # What is prepared for one test's tables would be wrong for the next one's.
            connect_args={"prepare_threshold": None},
        )
    return _engines[url]


def close_engines() -> None:
    """Close the connections that are kept."""
    for engine in _engines.values():
        engine.dispose()


def empty_tables(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Have the tables in the schema ``public`` of PostgreSQL, and nothing else, whatever a test made of it before."""
    if _has_schema(connection, "typed"):
        _rename(connection, public="as_text", typed="public")
    if not _emptied(connection, metadata, "public"):
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
        metadata.create_all(connection, checkfirst=False)
        _note_shape(connection, metadata, "public")


def turn_into_text(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Turn every column of the tables into text, with what they hold."""
    if _emptied(connection, metadata, "as_text"):
        _rename(connection, public="typed", as_text="public")
    else:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS as_text CASCADE")
        _rename(connection, public="typed")
        connection.exec_driver_sql("CREATE SCHEMA public")
        metadata.create_all(connection, checkfirst=False)
        for table in metadata.sorted_tables:
            changes = ", ".join(f'ALTER "{column.name}" TYPE text' for column in table.columns)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} {changes}")
        _note_shape(connection, metadata, "as_text", now="public")
    for table in metadata.sorted_tables:
        columns = ", ".join(f'"{column.name}"::text' for column in table.columns)
        connection.exec_driver_sql(
            f"INSERT INTO public.{table.name} SELECT {columns} FROM typed.{table.name}"  # noqa: S608 - our own names
        )


def make_sqlite(file: Path, metadata: sa.MetaData) -> None:
    """Make a database of SQLite with empty tables where there is none."""
    if not file.exists():
        file.write_bytes(_empty_sqlite(metadata))


@cache
def _empty_sqlite(metadata: sa.MetaData) -> bytes:
    """Return a database file of SQLite that has the tables."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        content: bytes = driver_connection.serialize()
    engine.dispose()
    return content


def _emptied(connection: sa.Connection, metadata: sa.MetaData, schema: str) -> bool:
    """Empty the tables of a schema; return false where they are not what they were when they were made."""
    url = str(connection.engine.url)
    if _shapes.get((url, schema)) != _shape(connection, metadata, schema):
        return False
    deletions = [f"DELETE FROM {schema}.{table.name}" for table in reversed(metadata.sorted_tables)]  # noqa: S608 - as above
    connection.exec_driver_sql("; ".join(deletions))
    return True


def _note_shape(
    connection: sa.Connection, metadata: sa.MetaData, schema: str, now: str | None = None
) -> None:
    _shapes[str(connection.engine.url), schema] = _shape(connection, metadata, now or schema)


def _shape(connection: sa.Connection, metadata: sa.MetaData, schema: str) -> str:
    """Return something that changes with each column, index or table that is added, altered or dropped."""
    columns = (
        "SELECT count(*), max(attribute.xmin::text::bigint) FROM pg_attribute AS attribute "
        "JOIN pg_class AS relation ON relation.oid = attribute.attrelid "
        "JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace WHERE schema.nspname = :schema"
    )
    counted = connection.execute(sa.text(columns), {"schema": schema}).one()
    return f"{id(metadata)} {counted}"


def _has_schema(connection: sa.Connection, name: str) -> bool:
    found = connection.execute(sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": name})
    return found.first() is not None


def _rename(connection: sa.Connection, **schemas: str) -> None:
    for name, new in schemas.items():
        connection.exec_driver_sql(f"ALTER SCHEMA {name} RENAME TO {new}")
