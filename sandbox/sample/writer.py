"""Fast writing of rows into either engine: the same rows, ``executemany`` or ``COPY``."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

Row = tuple[Any, ...]
"""The values of one row, in the order of the table's columns."""


class SampleError(RuntimeError):
    """The sample database cannot be made at that address."""


class Writer:
    """Write rows, without the indexes, which come at the end.

    Parameters
    ----------
    connection
        A connection to an empty database, SQLite or PostgreSQL.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._driver_connection: Any = connection.connection.driver_connection

    def write(self, table: sa.Table, rows: Iterable[Row]) -> None:
        """Add rows to a table."""
        quote = self._connection.dialect.identifier_preparer.quote
        name = quote(table.name)
        columns = ", ".join(quote(column.name) for column in table.columns)
        if self._is_sqlite:
            places = ", ".join("?" * len(table.columns))
            self._driver_connection.executemany(f"INSERT INTO {name} ({columns}) VALUES ({places})", rows)  # noqa: S608 - names of our own tables
        else:
            with (
                self._driver_connection.cursor() as cursor,
                cursor.copy(f"COPY {name} ({columns}) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)


@contextlib.contextmanager
def empty_database[W: Writer](
    url: str, metadata: sa.MetaData, writer: Callable[[sa.Connection], W]
) -> Iterator[W]:
    """Create the tables, let the block fill them, then add the indexes.

    Parameters
    ----------
    url
        ``sqlite:///…`` or ``postgresql://…`` of a database without these tables.
    metadata
        The tables.
    writer
        What is to write into them.

    Raises
    ------
    SampleError
        When the database cannot be opened, or has such tables already.
    """
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise SampleError(
            f"{url} is not the address of a database: give sqlite:///FILE or postgresql://…."
        ) from error
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            present = set(sa.inspect(connection).get_table_names()) & set(metadata.tables)
            if present:
                raise SampleError(
                    f"{address} already holds a database of mSupply (table {min(present)}): "
                    f"give the address of an empty one."
                )
            if connection.dialect.name == "sqlite":
                # A sample needs no protection from a power cut, and is made again in no time.
                connection.exec_driver_sql("PRAGMA synchronous = OFF")
            _create_tables(connection, metadata)
            yield writer(connection)
            _create_indexes(connection, metadata)
            if connection.dialect.name == "postgresql":
                # What autovacuum does by itself, some time later, in a real database.
                connection.exec_driver_sql("ANALYZE")
            connection.commit()
    except SQLAlchemyError as error:
        raise SampleError(f"The database {address} cannot be written: {error}") from error
    finally:
        engine.dispose()


def _create_tables(connection: sa.Connection, metadata: sa.MetaData) -> None:
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, sa.Enum):
                column.type.create(connection, checkfirst=True)
        connection.execute(CreateTable(table))


def _create_indexes(connection: sa.Connection, metadata: sa.MetaData) -> None:
    for table in metadata.sorted_tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.create(connection)
