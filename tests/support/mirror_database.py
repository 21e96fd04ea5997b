"""A mirror of the older mSupply in PostgreSQL, filled row by row by the test that needs it, or from a folder of CSV files."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress, parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Source
from sandbox.sample import mirror_tables
from tests.support.kept_tables import empty_tables, engine_of, turn_into_text
from tests.support.open_msupply_database import CALENDAR, clock_of_database
from tests.support.paths import SHARED

REAL_MIRROR = SHARED / "real" / "msupply_mirror"


class MirrorDatabase:
    """The mirror at ``url``, with empty tables: what was there before is gone.

    Every row added is committed at once.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = engine_of(url)
        self._numbers = count(1)
        with self.engine.begin() as connection:
            empty_tables(connection, mirror_tables.METADATA)
        self.add("name", id="adjusting", code="invad", name="Inventory adjustments")
        self.add("name", id="other", code="OTHER", name="Another place")

    @property
    def address(self) -> DatabaseAddress:
        return parse_database_address(self.url)

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def add(self, table: str, **values: object) -> str:
        """Add a row; it is given an id where it has none."""
        row = {"id": f"{table}-{next(self._numbers)}", **values}
        with self.engine.begin() as connection:
            # As text, which becomes whatever type the column has.
            names = ", ".join(row)
            places = ", ".join(f"%({name})s" for name in row)
            texts = {name: None if value is None else _text(value) for name, value in row.items()}
            connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", texts)  # noqa: S608 - our own names
        return str(row["id"])

    def add_store(self, code: str, custom_data: object = None, **values: object) -> str:
        """Add a store, by default with its code in ``Dhis2Code``."""
        if custom_data is None:
            custom_data = {"Dhis2Code": {"data": f"OU_{code}"}}
        row = {
            "name": f"{code} clinic",
            "name_id": f"name-of-{code}",
            "disabled": False,
            "custom_data": custom_data,
            **values,
        }
        return self.add("store", id=f"store-{code}", code=code, **row)

    def add_item(self, code: str, **values: object) -> str:
        """Add an item, by default with its code as universal code."""
        row = {
            "item_name": f"{code} tabs",
            "type_of": "general",
            "universalcodes_code": f"uc-{code}",
            **values,
        }
        return self.add("item", id=f"item-{code}", code=code, **row)

    def add_stock(self, store: str, item: str, packs: float | None, **values: object) -> str:
        row = {"pack_size": 1, "quantity": packs, **values}
        return self.add("item_line", store_id=store, item_id=item, **row)

    def add_transaction(
        self, store: str, kind: str, day: str | None = None, seconds: object = 0, **values: object
    ) -> str:
        row = {
            "name_id": "other",
            "mode": "store",
            "status": "fn",
            "invoice_num": next(self._numbers),
            **values,
        }
        return self.add("transact", store_id=store, type=kind, confirm_date=day, confirm_time=seconds, **row)

    def add_line(self, transaction: str, item: str, packs: float | None, **values: object) -> str:
        """Add a line that moves so many packs: in where above 0, out where below, unless ``type`` says."""
        row: dict[str, object] = {
            "type": "stock_in" if (packs or 0) > 0 else "stock_out",
            "quantity": packs if packs is None or "type" in values else abs(packs),
            "pack_size": 1,
            **values,
        }
        return self.add("trans_line", transaction_id=transaction, item_id=item, **row)

    def move(
        self, store: str, item: str, packs: float, kind: str, day: str, seconds: object = 0, **values: object
    ) -> None:
        """Add a transaction with one line."""
        self.add_line(self.add_transaction(store, kind, day, seconds, **values), item, packs)

    def make_visible(self, item: str, name: str) -> None:
        """Put the item on a master list of the name."""
        master_list = self.add("list_master")
        self.add("list_master_line", item_master_id=master_list, item_id=item)
        self.add("list_master_name_join", list_master_id=master_list, name_id=name)

    def make_all_text(self) -> None:
        """Turn every column into text, as in a mirror that was filled from files."""
        with self.engine.begin() as connection:
            turn_into_text(connection, mirror_tables.METADATA)

    @contextmanager
    def open(self, calendar: Calendar = CALENDAR, *, began: datetime | None = None) -> Iterator[Source]:
        with clock_of_database(began), open_source(self.address, calendar=calendar) as source:
            yield source


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def load_files(url: str, folder: Path, *, typed: bool) -> None:
    """Load a folder of CSV files, one a table, into an empty database.

    Parameters
    ----------
    typed
        Whether the columns have the types that the older mSupply's own export gives them; all are text otherwise.
    """
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        driver_connection: Any = connection.connection.driver_connection
        for file in sorted(folder.glob("*.csv")):
            with file.open(encoding="utf-8", newline="") as text:
                columns = next(csv.reader(text))
            definitions = ", ".join(f'"{column}" text' for column in columns)
            connection.exec_driver_sql(f"CREATE TABLE {file.stem} ({definitions})")
            with (
                driver_connection.cursor() as cursor,
                cursor.copy(f"COPY {file.stem} FROM STDIN (FORMAT csv, HEADER)") as copy,
            ):
                copy.write(file.read_bytes())
            if typed:
                _give_types(connection, file.stem)


def _give_types(connection: sa.Connection, name: str) -> None:
    table = mirror_tables.METADATA.tables.get(name)
    for column in () if table is None else table.columns:
        if not isinstance(column.type, sa.Text):
            kind = "jsonb" if isinstance(column.type, JSONB) else column.type.compile(connection.dialect)
            present = f"nullif(nullif(\"{column.name}\", ''), '0000-00-00')"
            connection.exec_driver_sql(
                f'ALTER TABLE {name} ALTER "{column.name}" TYPE {kind} USING {present}::{kind}'
            )
