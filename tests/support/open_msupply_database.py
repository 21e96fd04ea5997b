"""A small Open mSupply database, SQLite or PostgreSQL, filled row by row by the test that needs it."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from msupply_dhis2.domain.stock import ItemGroup, OrgUnit, PairHistory
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress, parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Catalogue, Source
from msupply_dhis2.source.queries import Scope
from sandbox.sample import tables
from tests.support.kept_tables import empty_tables, engine_of, make_sqlite

CALENDAR = Calendar(ZoneInfo("Pacific/Auckland"))

# What every row needs and no test is about.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "item": {
        "type": "STOCK",
        "legacy_record": "",
        "is_active": True,
        "default_pack_size": 1,
        "is_vaccine": False,
    },
    "name": {"code": "", "type": "FACILITY", "is_customer": True, "is_supplier": False},
    "store": {"site_id": 1, "store_mode": "STORE", "is_disabled": False},
    "sync_buffer": {"received_datetime": "2022-01-01 00:00:00", "action": "UPSERT"},
    "master_list": {"name": "", "code": "", "description": "", "is_active": True},
    "store_preference": {"pack_to_one": False},
    "stock_line": {
        "pack_size": 1,
        "available_number_of_packs": 0,
        "cost_price_per_pack": 0,
        "sell_price_per_pack": 0,
        "on_hold": False,
    },
    "invoice": {
        "name_link_id": "other",
        "on_hold": False,
        "created_datetime": "2019-01-01 00:00:00",
        "is_cancellation": False,
    },
    "invoice_line": {
        "item_name": "",
        "item_code": "",
        "pack_size": 1,
        "cost_price_per_pack": 0,
        "sell_price_per_pack": 0,
    },
}


class OpenMsupplyDatabase:
    """The database at ``url``, with empty tables: what was there before is gone.

    Every row added is committed at once.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite:")
        self._numbers = count(1)
        if self.is_sqlite:
            make_sqlite(Path(url.removeprefix("sqlite:///")), tables.METADATA)
            self.engine = sa.create_engine(url, poolclass=sa.NullPool)
            sa.event.listen(self.engine, "connect", _without_waiting_for_the_disk)
            tables.METADATA.create_all(self.engine)
        else:
            self.engine = engine_of(url)
            with self.engine.begin() as connection:
                empty_tables(connection, tables.METADATA)

    @property
    def address(self) -> DatabaseAddress:
        return parse_database_address(self.url)

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def add(self, table: str, **values: object) -> str:
        """Add a row with an id of its own unless one is given, and return its id."""
        (key,) = self.add_many(table, [values])
        return key

    def add_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add rows that have values for the same columns, and return their ids."""
        key = "record_id" if table == "sync_buffer" else "id"
        full = [
            {key: f"{table}-{next(self._numbers)}", **_DEFAULTS.get(table, {}), **values} for values in rows
        ]
        with self.engine.begin() as connection:
            connection.execute(tables.METADATA.tables[table].insert(), full)
        return [str(row[key]) for row in full]

    def add_store(self, code: str, custom_data: object = None, **values: object) -> str:
        """Add a store that came with the custom data, by default with its code in ``Dhis2Code``."""
        name = self.add("name", id=f"name-of-{code}", name=f"{code} clinic")
        self.add("name_link", id=name, name_id=name)
        store = self.add("store", id=f"store-{code}", name_link_id=name, code=code, **values)
        custom_data = {"Dhis2Code": {"data": f"OU_{code}"}} if custom_data is None else custom_data
        self.add(
            "sync_buffer", record_id=store, table_name="store", data=json.dumps({"custom_data": custom_data})
        )
        return store

    def upgrade_to_3(self) -> None:
        """Return the database what release 3 has of custom fields; the records become its log."""
        if self.is_sqlite:
            cursor, key, json_type = "INTEGER PRIMARY KEY AUTOINCREMENT", ")", "TEXT"
        else:
            cursor, json_type = "SERIAL NOT NULL", "JSONB"
            key = ", PRIMARY KEY (cursor, is_integrated)) PARTITION BY LIST (is_integrated)"
        self.execute(
            f"CREATE TABLE sync_log (cursor {cursor}, record_id TEXT NOT NULL, received_datetime TIMESTAMP NOT NULL, "
            "table_name TEXT NOT NULL, action TEXT NOT NULL, data TEXT NOT NULL, "
            f"is_integrated BOOLEAN NOT NULL DEFAULT FALSE{key}"
        )
        if not self.is_sqlite:
            self.execute("CREATE TABLE sync_buffer_pending PARTITION OF sync_log FOR VALUES IN (false)")
            self.execute("CREATE TABLE sync_buffer_archive PARTITION OF sync_log FOR VALUES IN (true)")
        self.execute(
            "INSERT INTO sync_log (record_id, received_datetime, table_name, action, data, is_integrated) "
            "SELECT record_id, received_datetime, table_name, CAST(action AS TEXT), data, TRUE FROM sync_buffer"
        )
        self.execute("DROP TABLE sync_buffer")
        self.execute("ALTER TABLE sync_log RENAME TO sync_buffer")
        for table in ("name", "item"):
            self.execute(f"ALTER TABLE {table} ADD COLUMN custom_fields {json_type}")
        self.execute(
            "CREATE TABLE custom_field (id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, "
            "value_type TEXT NOT NULL, deleted_datetime TIMESTAMP)"
        )
        self.execute(
            "CREATE TABLE custom_field_scope (id TEXT PRIMARY KEY, custom_field_id TEXT NOT NULL, scope TEXT NOT NULL)"
        )
        self.execute(
            "CREATE TABLE custom_field_option (id TEXT PRIMARY KEY, custom_field_id TEXT NOT NULL, key TEXT NOT NULL, "
            "name TEXT NOT NULL, deleted_datetime TIMESTAMP)"
        )

    def insert(self, table: str, **values: object) -> None:
        """Add a row to a table that only some releases have."""
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)  # noqa: S608 - our own names

    def log(
        self,
        record: str,
        data: object,
        *,
        action: str = "UPSERT",
        integrated: bool = True,
        table: str = "store",
    ) -> None:
        """Add a record to the log of release 3."""
        self.insert(
            "sync_buffer",
            record_id=record,
            # What is received later may be integrated first: the instant tells nothing.
            received_datetime="2026-01-01 00:00:00",
            table_name=table,
            action=action,
            data=data if isinstance(data, str) else json.dumps(data),
            is_integrated=integrated,
        )

    def define_field(
        self,
        key: str,
        name: str,
        scope: str,
        *,
        options: Mapping[str, str] | None = None,
        deleted: str | None = None,
    ) -> None:
        """Define a custom field of release 3, with the names of its options by their ids."""
        self.insert(
            "custom_field", id=f"field-{key}", key=key, name=name, value_type="TEXT", deleted_datetime=deleted
        )
        self.insert("custom_field_scope", id=f"scope-{key}", custom_field_id=f"field-{key}", scope=scope)
        for number, (option, shown) in enumerate((options or {}).items()):
            self.insert(
                "custom_field_option",
                id=option,
                custom_field_id=f"field-{key}",
                key=f"key {number}",
                name=shown,
            )

    def set_custom_fields(self, table: str, row: str, fields: object) -> None:
        """Fill in what release 3 keeps in ``custom_fields``."""
        kind = "TEXT" if self.is_sqlite else "JSONB"
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(f"UPDATE {table} SET custom_fields = CAST(:fields AS {kind}) WHERE id = :id"),  # noqa: S608 - our own names
                {"fields": json.dumps(fields), "id": row},
            )

    def add_item(self, code: str, *, record: object = None, **values: object) -> str:
        """Add an item with the link to it, by default with its code as universal code."""
        values = {"universal_code": f"uc-{code}", **values}
        if record is not None:
            values["legacy_record"] = record if isinstance(record, str) else json.dumps(record)
        item = self.add("item", id=f"item-{code}", code=code, name=f"{code} tabs", **values)
        self.add("item_link", id=item, item_id=item)
        return item

    def add_stock(self, store: str, item: str, packs: float, **values: object) -> str:
        return self.add(
            "stock_line", store_id=store, item_link_id=item, total_number_of_packs=packs, **values
        )

    def add_invoice(self, store: str, kind: str, instant: str | None = None, **values: object) -> str:
        """Add an invoice; the instant is the one that moves the stock of its kind."""
        if instant is not None:
            values[INSTANTS[kind]] = instant
        number = next(self._numbers)
        row = {"invoice_number": number, "status": "VERIFIED", **values}
        return self.add("invoice", store_id=store, type=kind, **row)

    def add_line(
        self, invoice: str, item: str, packs: float, *, line: str | None = None, **values: object
    ) -> str:
        """Add a line that moves so many packs: in where above 0, out where below, unless ``line`` says."""
        line = line or ("STOCK_IN" if packs > 0 else "STOCK_OUT")
        packs = abs(packs)
        return self.add(
            "invoice_line", invoice_id=invoice, item_link_id=item, type=line, number_of_packs=packs, **values
        )

    def move(
        self, store: str, item: str, packs: float, kind: str, instant: str, *, pack_size: float = 1
    ) -> None:
        """Add an invoice with one line."""
        self.add_line(self.add_invoice(store, kind, instant), item, packs, pack_size=pack_size)

    def make_visible(self, item: str, name: str, *, is_active: bool = True) -> None:
        """Put the item on a master list of the name."""
        master_list = self.add("master_list", is_active=is_active)
        self.add("master_list_line", master_list_id=master_list, item_link_id=item)
        self.add("master_list_name_join", master_list_id=master_list, name_link_id=name)

    @contextmanager
    def open(self, calendar: Calendar = CALENDAR, *, began: datetime | None = None) -> Iterator[Source]:
        with clock_of_database(began), open_source(self.address, calendar=calendar) as source:
            yield source


@contextmanager
def clock_of_database(began: datetime | None) -> Iterator[None]:
    """Have every reading begin at an instant (naive UTC), where one is given."""
    with ExitStack() as stack:
        if began is not None:
            stack.enter_context(patch("msupply_dhis2.source.reading_began", lambda _: began))
        yield


def _without_waiting_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


INSTANTS = {
    "OUTBOUND_SHIPMENT": "picked_datetime",
    "PRESCRIPTION": "picked_datetime",
    "SUPPLIER_RETURN": "picked_datetime",
    "INBOUND_SHIPMENT": "received_datetime",
    "CUSTOMER_RETURN": "received_datetime",
    "INVENTORY_ADDITION": "verified_datetime",
    "INVENTORY_REDUCTION": "verified_datetime",
    "REPACK": "verified_datetime",
}


def read_catalogue(
    source: Source, *, fields: tuple[str, ...] = ("universal_code",), include: str | None = None
) -> Catalogue:
    return source.catalogue(store_field="Dhis2Code", item_fields=fields, include_field=include)


def scope_of(catalogue: Catalogue) -> Scope:
    """One org unit for each store and one group for each item."""
    return Scope(
        tuple(OrgUnit(store.org_unit, (store,)) for store in catalogue.stores),
        tuple(ItemGroup(next(iter(item.fields.values())), (item,)) for item in catalogue.items),
    )


def data_warnings(source: Source) -> tuple[str, ...]:
    """Return what was odd in the histories, but for ledgers that do not add up, as in tests that need no whole ones."""
    return tuple(each for each in source.warnings() if "differ from the sum of their movements" not in each)


def pairs_by_code(source: Source, floor: datetime) -> dict[tuple[str, str], PairHistory]:
    """Read all that the catalogue lists, by the codes of store and item."""
    return {
        (pair.store.code, pair.item.code): pair
        for group in source.histories(scope_of(read_catalogue(source)), floor)
        for pair in group.pairs
    }
