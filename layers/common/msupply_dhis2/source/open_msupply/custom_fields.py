"""Where Open mSupply keeps the custom fields of stores and items.

Up to release 2 they are in the records that came from the older mSupply. Release 3 has columns of its own for them
besides, and keeps the records as a log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import exists, select

from msupply_dhis2.source.fields import has_value, read_object
from msupply_dhis2.source.open_msupply.database import Database
from msupply_dhis2.source.open_msupply.tables import (
    custom_field,
    custom_field_option,
    custom_field_scope,
    store,
    sync_buffer,
)
from msupply_dhis2.source.sql import text_of

_ROWS_AT_A_TIME = 100
"""A store's record may hold its logo."""

SCOPES_OF_ITEMS = ("item",)
SCOPES_OF_STORES = ("customer", "supplier")
"""A store's fields are those of its name, which mSupply shows where the name is a customer or a supplier."""


def custom_data_of_stores(database: Database) -> Mapping[str, object]:
    """Return the custom data that came with the stores' records from the older mSupply, by the id of the store.

    Of a log the latest record that says anything of custom data counts, also where what it says is that a field is
    empty now. After a deletion nothing counts that came before it. A record that cannot be read stands for its custom
    data: what it says is not known, and an older record may say what is wrong by now.
    """
    if not database.has(sync_buffer):
        return {}
    query = select(sync_buffer.c.record_id, text_of(sync_buffer.c.action), text_of(sync_buffer.c.data)).where(
        sync_buffer.c.table_name == "store"
    )
    if database.has_column("cursor", of=sync_buffer):
        # In one pass: the log has no index on the record.
        query = query.where(sync_buffer.c.is_integrated.is_(True)).order_by(sync_buffer.c.cursor.desc())
    else:
        # By the primary key: the records of other tables are many and large.
        query = query.where(sync_buffer.c.record_id.in_(select(store.c.id)))
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _ROWS_AT_A_TIME}
    )
    latest: dict[str, object] = {}
    for record_id, action, data in rows:
        if record_id in latest or action == "MERGE":
            continue
        if action == "DELETE":
            latest[record_id] = None
        elif (record := read_object(data)) is None:
            latest[record_id] = data
        elif _says_anything(custom_data := record.get("custom_data")):
            latest[record_id] = custom_data
    return latest


def _says_anything(custom_data: object) -> bool:
    """Tell custom data, empty or not, from none, as the records of release 3's own protocol have it."""
    if isinstance(custom_data, str):
        return custom_data.strip() not in {"", "null"}
    return custom_data is not None


@dataclass(frozen=True, slots=True)
class CustomFields:
    """How the fields that were asked for are found among the ``custom_fields`` of a record."""

    keys: Mapping[str, tuple[str, ...]]
    """Where the value of a field may be, by the name that it was asked for by: the first that has one counts."""
    options: Mapping[str, Mapping[str, str]]
    """By the key of a field that has options: what each option is called, by its id, which is what a record holds."""

    @classmethod
    def read(cls, database: Database, names: Iterable[str], scopes: tuple[str, ...]) -> "CustomFields":
        """Find fields by their keys, else by the names that mSupply shows in the scopes."""
        defined = _defined(database, scopes)
        keys: dict[str, tuple[str, ...]] = {}
        for name in names:
            # Of two fields of the same name the first by key, whatever order the database has for letters.
            named = sorted(key for key, (_, shown) in defined.items() if shown.strip() == name.strip())
            keys[name] = (name,) if name in defined else (name, *named[:1])
        ids = {defined[key][0]: key for of_name in keys.values() for key in of_name if key in defined}
        options: dict[str, dict[str, str]] = {}
        if database.has(custom_field_option):
            # Deleted ones too: a record may hold one still, and mSupply shows its name.
            query = select(
                custom_field_option.c.custom_field_id, custom_field_option.c.id, custom_field_option.c.name
            ).where(custom_field_option.c.custom_field_id.in_(ids))
            for field_id, option_id, option in database.connection.execute(query):
                options.setdefault(ids[field_id], {})[option_id] = option
        return cls(keys, options)

    def of(self, record: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields of a record by the names that they were asked for by."""
        return {
            name: value
            for name, keys in self.keys.items()
            for value in [next(filter(has_value, (self._value(key, record.get(key)) for key in keys)), None)]
        }

    def _value(self, key: str, value: object) -> object:
        options = self.options.get(key)
        return options.get(value, value) if options and isinstance(value, str) else value


def _defined(database: Database, scopes: tuple[str, ...]) -> Mapping[str, tuple[str, str]]:
    """Read which fields are shown in the scopes: their ids and names, by key."""
    if not database.has(custom_field):
        return {}
    query = select(custom_field.c.key, custom_field.c.id, custom_field.c.name).where(
        custom_field.c.deleted_datetime.is_(None)
    )
    if database.has(custom_field_scope):
        shown = exists().where(
            custom_field_scope.c.custom_field_id == custom_field.c.id, custom_field_scope.c.scope.in_(scopes)
        )
        if database.has_column("deleted_datetime", of=custom_field_scope):
            shown = shown.where(custom_field_scope.c.deleted_datetime.is_(None))
        query = query.where(shown)
    return {key: (field_id, name) for key, field_id, name in database.connection.execute(query)}
