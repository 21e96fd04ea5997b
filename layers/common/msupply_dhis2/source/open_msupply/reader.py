"""Reading Open mSupply's own database, by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories by ``queries.py`` from what ``tables.py`` describes.
Every reference to an item or a name goes through ``item_link`` or ``name_link``: a merged item's links point to the
item that was kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from msupply_dhis2.domain.stock import ConsumptionPreferences
from msupply_dhis2.source.base import Catalogue, Source
from msupply_dhis2.source.open_msupply.tables import (
    Database,
    OpenMsupplyQueries,
    custom_field,
    custom_field_option,
    custom_field_scope,
    item,
    item_link,
    name,
    name_link,
    preference,
    store,
    store_preference,
    sync_buffer,
)
from msupply_dhis2.source.selection import (
    LOOK_BACK_FIELD,
    ItemSelection,
    StoreSelection,
    days_in_month,
    field_text,
    flag,
    has_value,
    item_fields,
    read_object,
    to_catalogue,
)
from msupply_dhis2.source.sql import read_instant, text_of

_ITEMS_AT_A_TIME = 500
"""Items carry their whole record, pictures included."""
_RECORDS_AT_A_TIME = 100
"""A store's record may hold its logo."""

_PREFERENCES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "days_in_month": ("days_in_month", days_in_month),
    "adjust_for_number_of_days_out_of_stock": ("adjust_for_days_out_of_stock", flag),
}
"""mSupply's keys: what we call it, and what reads it."""

_SCOPES_OF_ITEMS = ("item",)
SCOPES_OF_NAMES = ("customer", "supplier")
"""A store's fields are those of its name, which mSupply shows where the name is a customer or a supplier."""


class OpenMsupply(Source):
    """An Open mSupply database; of a release that lacks what is needed it is refused."""

    def __post_init__(self) -> None:
        """Refuse a release that is too old."""
        self._database = Database(self.connection, self.columns)
        self._database.check(self.address)
        self._midnight = self.calendar.start_of_day(self.calendar.day_of(self.began))

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent, and mSupply's preferences."""
        stores = StoreSelection(store_field)
        where = "item.legacy_record or item.custom_fields"
        items = ItemSelection(tuple(item_fields), include_field, where)
        _read_stores(self._database, stores)
        _read_items(self._database, items)
        return to_catalogue(stores, items, *_preferences(self._database))

    def queries(
        self, stores: Mapping[str, int], items: Mapping[str, int], floor: datetime
    ) -> OpenMsupplyQueries:
        """Return what asks for the stock, in instants of UTC."""
        next_instant = self.began + timedelta(microseconds=1)
        return OpenMsupplyQueries(self._database, stores, items, next_instant, self._midnight, floor)

    def read_instant(self, value: object) -> datetime:
        """Return an instant as it is kept."""
        return read_instant(value)


def _read_stores(database: Database, stores: StoreSelection) -> None:
    query = (
        sa.select(
            store.c.id,
            store.c.code,
            name.c.name,
            database.value(store.c.is_disabled, of=store).label("is_disabled"),
            database.text(name.c.properties, of=name).label("properties"),
            database.text(name.c.custom_fields, of=name).label("custom_fields"),
            database.text(name.c.custom_data, of=name).label("custom_data"),
            database.value(
                store_preference.c.monthly_consumption_look_back_period, of=store_preference
            ).label("look_back"),
        )
        .select_from(store)
        .join(name_link, name_link.c.id == store.c.name_link_id)
        .join(name, name.c.id == name_link.c.name_id)
        .order_by(store.c.id)
    )
    if database.has_columns(store_preference):
        query = query.outerjoin(store_preference, store_preference.c.id == store.c.id)
    if not database.has_columns(sync_buffer):
        stores.lacking = "The database lacks the table sync_buffer, where releases up to 2 keep custom fields of stores. Copy it too."
    records = _custom_data_of_stores(database)
    custom_fields = reader_of_custom_fields(database, (stores.store_field, LOOK_BACK_FIELD), SCOPES_OF_NAMES)
    for row in database.connection.execute(query):
        named = f"{row.name} ({row.code})"
        places = [
            stores.read(records.get(row.id), named),
            stores.read(row.properties, named),
            custom_fields(stores.read(row.custom_fields, named)),
            stores.read(row.custom_data, named),
        ]
        why_not = "it is disabled in mSupply" if row.is_disabled else None
        stores.add(row.id, row.code, row.name, places, why_not, row.look_back)


def _read_items(database: Database, items: ItemSelection) -> None:
    query = (
        sa.select(
            item.c.id,
            item.c.code,
            item.c.name,
            text_of(item.c.type).label("type"),
            text_of(item.c.legacy_record).label("record"),
            database.text(item.c.custom_fields, of=item).label("custom_fields"),
            database.value(item.c.is_active, of=item).label("is_active"),
            database.text(item.c.universal_code, of=item).label("universal_code"),
        )
        # An item that no link points to was merged into another one.
        .where(sa.exists().where(item_link.c.item_id == item.c.id))
        .order_by(item.c.id)
    )
    custom_fields = reader_of_custom_fields(
        database, filter(None, (*items.fields, items.include_field)), _SCOPES_OF_ITEMS
    )
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _ITEMS_AT_A_TIME}
    )
    for row in rows:
        named = f"{row.name} ({row.code})"
        record = items.read(row.record, named)
        by_key = items.read(row.custom_fields, named)
        kept = custom_fields(by_key)
        places = [
            item_fields(kept, kept),
            item_fields(record, items.read(record.get("custom_data"), named)),
            # Those too that nobody asked for: one of them may be the tick, or what was meant.
            item_fields(by_key, by_key),
        ]
        why_not = None if row.is_active is None or row.is_active else "it is inactive in mSupply"
        if row.type != "STOCK":
            why_not = f"its type is {row.type.lower().replace('_', '-')}, not stock"
        universal_code = field_text(row.universal_code) or record.get("universalcodes_code")
        items.add(row.id, row.code, row.name, places, why_not, universal_code)


def _preferences(database: Database) -> tuple[ConsumptionPreferences, list[str]]:
    """Read the global preferences, and return which of them cannot be read."""
    read: dict[str, Any] = {}
    unreadable: list[str] = []
    if database.has_columns(preference):
        query = (
            sa.select(preference.c.key, text_of(preference.c.value).label("value"))
            .where(preference.c.key.in_(_PREFERENCES), preference.c.store_id.is_(None))
            .order_by(preference.c.id.desc())
        )
        # Of two the one with the first id.
        for key, text in dict(map(tuple, database.connection.execute(query))).items():
            name, parse = _PREFERENCES[key]
            try:
                read[name] = parse(text)
            except ValueError:
                unreadable.append(
                    f"mSupply's global preference {key} cannot be read, so its default is used. Enter it again in mSupply."
                )
    given = {name: value for name, value in read.items() if value is not None}
    return ConsumptionPreferences(**given), unreadable


def _custom_data_of_stores(database: Database) -> Mapping[str, object]:
    """Return the custom data that came with the stores' records from the older mSupply, by the id of the store.

    Up to release 2 custom fields are in these records. Release 3 has columns of its own for them besides, and keeps the
    records as a log.

    Of a log the latest record that says anything of custom data counts, also where what it says is that a field is
    empty now. After a deletion nothing counts that came before it. A record that cannot be read stands for its custom
    data: what it says is not known, and an older record may say what is wrong by now.
    """
    if not database.has_columns(sync_buffer):
        return {}
    query = sa.select(
        sync_buffer.c.record_id, text_of(sync_buffer.c.action), text_of(sync_buffer.c.data)
    ).where(sync_buffer.c.table_name == "store")
    if database.has_columns(sync_buffer, "cursor"):
        # In one pass: the log has no index on the record.
        query = query.where(sync_buffer.c.is_integrated.is_(True)).order_by(sync_buffer.c.cursor.desc())
    else:
        # By the primary key: the records of other tables are many and large.
        query = query.where(sync_buffer.c.record_id.in_(sa.select(store.c.id)))
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _RECORDS_AT_A_TIME}
    )
    latest: dict[str, object] = {}
    for record_id, action, data in rows:
        if record_id in latest or action == "MERGE":
            continue
        if action == "DELETE":
            latest[record_id] = None
        elif (record := read_object(data)) is None:
            latest[record_id] = data
        else:
            custom_data = record.get("custom_data")
            # Empty custom data says something; none, as in the records of release 3's own protocol, does not.
            said = custom_data.strip() if isinstance(custom_data, str) else custom_data
            if said not in (None, "", "null"):
                latest[record_id] = custom_data
    return latest


type _Fields = Mapping[str, object]


def reader_of_custom_fields(
    database: Database, names: Iterable[str], scopes: tuple[str, ...]
) -> Callable[[_Fields], _Fields]:
    """Return what finds fields in a record's ``custom_fields``: by their keys, else by the names shown in the scopes."""
    defined = _defined(database, scopes)
    keys: dict[str, tuple[str, ...]] = {}
    for asked in names:
        # Of two fields of the same name the first by key, whatever order the database has for letters.
        named = sorted(key for key, (_, shown) in defined.items() if shown.strip() == asked.strip())
        keys[asked] = (asked,) if asked in defined else (asked, *named[:1])
    ids = {defined[key][0]: key for of_name in keys.values() for key in of_name if key in defined}
    options: dict[tuple[str, object], str] = {}
    if database.has_columns(custom_field_option):
        # A record holds an option's id. Deleted ones too: a record may hold one still, and mSupply shows its name.
        option = custom_field_option.c
        query = sa.select(option.custom_field_id, option.id, option.name).where(
            option.custom_field_id.in_(ids)
        )
        for field_id, option_id, shown in database.connection.execute(query):
            options[ids[field_id], option_id] = shown

    def value(record: _Fields, key: str) -> object:
        held = record.get(key)
        return options.get((key, held), held) if isinstance(held, str) else held

    def read(record: _Fields) -> _Fields:
        """Return the fields by the names that they were asked for by: the first key that has a value counts."""
        return {
            name: next(filter(has_value, [value(record, key) for key in of_name]), None)
            for name, of_name in keys.items()
        }

    return read


def _defined(database: Database, scopes: tuple[str, ...]) -> Mapping[str, tuple[str, str]]:
    """Read which fields are shown in the scopes: their ids and names, by key."""
    if not database.has_columns(custom_field):
        return {}
    query = sa.select(custom_field.c.key, custom_field.c.id, custom_field.c.name).where(
        custom_field.c.deleted_datetime.is_(None)
    )
    if database.has_columns(custom_field_scope):
        shown = sa.exists().where(
            custom_field_scope.c.custom_field_id == custom_field.c.id, custom_field_scope.c.scope.in_(scopes)
        )
        if database.has_columns(custom_field_scope, "deleted_datetime"):
            shown = shown.where(custom_field_scope.c.deleted_datetime.is_(None))
        query = query.where(shown)
    return {key: (field_id, name) for key, field_id, name in database.connection.execute(query)}
