"""Reading Open mSupply's own database, by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories by ``queries.py`` from what ``tables.py`` describes.
Every reference goes through ``item_link`` or ``name_link``: a merged item's links point to the item that was kept.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from msupply_dhis2.domain.stock import ConsumptionPreferences
from msupply_dhis2.errors import SourceError
from msupply_dhis2.source.base import Notes, Source
from msupply_dhis2.source.open_msupply.tables import (
    REQUIRED,
    SYNC_RECORD,
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
from msupply_dhis2.source.queries import Clock, Numbers, Scope
from msupply_dhis2.source.selection import (
    LOOK_BACK_FIELD,
    Fields,
    ItemSelection,
    Named,
    StoreSelection,
    days_in_month,
    field_text,
    first_value,
    flag,
    has_value,
    item_fields,
    read_object,
)
from msupply_dhis2.source.sql import Expression, read_instant, streamed, text_of

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


type CustomFields = Callable[[Fields], Fields]
"""Finds the fields that are asked for in a record's ``custom_fields``."""


class OpenMsupply(Source):
    """An Open mSupply database; of a release that lacks what is needed it is refused."""

    broken_place = "item.legacy_record or item.custom_fields"

    def __post_init__(self) -> None:
        """Refuse a release that is too old."""
        if missing := self.columns.missing(REQUIRED):
            raise SourceError(
                f"mSupply's database ({self.address.described}) is of a release of Open mSupply that is too old: it lacks "
                f"{', '.join(missing)}. Update Open mSupply; releases 2.20 to 3.0 are known to have all that is needed."
            )

    def queries(self, scope: Scope, floor: datetime) -> OpenMsupplyQueries:
        """Return what asks for the stock, in instants of UTC."""
        midnight = self.calendar.start_of_day(self.calendar.day_of(self.began))
        read = lru_cache(maxsize=4_096)(read_instant)
        clock = Clock(self.began + timedelta(microseconds=1), midnight, floor, read)
        return OpenMsupplyQueries(self.columns, Numbers(scope), clock)

    def columns_of_fields(self) -> list[Expression]:
        """Return where names keep custom fields, as columns of the same names."""
        columns = (name.c.properties, name.c.custom_fields, name.c.custom_data)
        return [self.columns.text(each).label(each.name) for each in columns]

    def read_stores(self, stores: StoreSelection) -> None:
        """Read which stores there are."""
        query = (
            sa.select(
                store.c.id,
                store.c.code,
                name.c.name,
                self.columns.value(store.c.is_disabled).label("is_disabled"),
                self.columns.value(store_preference.c.monthly_consumption_look_back_period).label(
                    "look_back"
                ),
                *self.columns_of_fields(),
            )
            .select_from(store)
            .join(name_link, name_link.c.id == store.c.name_link_id)
            .join(name, name.c.id == name_link.c.name_id)
            .order_by(store.c.id)
        )
        if self.columns.has(*store_preference.c):
            query = query.outerjoin(store_preference, store_preference.c.id == store.c.id)
        if not self.columns.has(*SYNC_RECORD):
            stores.lacking = "The database lacks the table sync_buffer, where releases up to 2 keep custom fields of stores. Copy it too."
        records = self._custom_data_of_stores()
        custom_fields = self.reader_of_custom_fields((stores.store_field, LOOK_BACK_FIELD), SCOPES_OF_NAMES)
        for row in self.connection.execute(query):
            it = Named(row.id, row.code, row.name)
            places = [stores.read(records.get(it.id), it), *places_of_name(it, row, stores, custom_fields)]
            why_not = "it is disabled in mSupply" if row.is_disabled else None
            stores.add(it, places, why_not, [row.look_back, first_value(places, LOOK_BACK_FIELD)])

    def read_items(self, items: ItemSelection) -> None:
        """Read which items there are."""
        query = (
            sa.select(
                item.c.id,
                item.c.code,
                item.c.name,
                text_of(item.c.type).label("type"),
                text_of(item.c.legacy_record).label("record"),
                self.columns.text(item.c.custom_fields).label("custom_fields"),
                self.columns.value(item.c.is_active).label("is_active"),
                self.columns.text(item.c.universal_code).label("universal_code"),
            )
            # An item that no link points to was merged into another one.
            .where(sa.exists().where(item_link.c.item_id == item.c.id))
            .order_by(item.c.id)
        )
        asked = filter(None, (*items.fields, items.include_field))
        custom_fields = self.reader_of_custom_fields(asked, _SCOPES_OF_ITEMS)
        for row in streamed(self.connection, query, _ITEMS_AT_A_TIME):
            it = Named(row.id, row.code, row.name)
            record, by_key = items.read(row.record, it), items.read(row.custom_fields, it)
            kept = custom_fields(by_key)
            places = [
                item_fields(kept, kept),
                item_fields(record, items.read(record.get("custom_data"), it)),
                # Those too that nobody asked for: one of them may be the tick, or what was meant.
                item_fields(by_key, by_key),
            ]
            why_not = None if row.is_active is None or row.is_active else "it is inactive in mSupply"
            if row.type != "STOCK":
                why_not = f"its type is {row.type.lower().replace('_', '-')}, not stock"
            universal_code = field_text(row.universal_code) or record.get("universalcodes_code")
            items.add(it, places, why_not, universal_code)

    def notes(self, _: ItemSelection) -> Notes:
        """Read the global preferences, and note which of them cannot be read."""
        given: dict[str, Any] = {}
        unreadable: list[str] = []
        if self.columns.has(*preference.c):
            query = (
                sa.select(preference.c.key, text_of(preference.c.value))
                .where(preference.c.key.in_(_PREFERENCES), preference.c.store_id.is_(None))
                .order_by(preference.c.id.desc())
            )
            # Of two the one with the first id.
            for key, text in dict(map(tuple, self.connection.execute(query))).items():
                name, parse = _PREFERENCES[key]
                try:
                    if (value := parse(text)) is not None:
                        given[name] = value
                except ValueError:
                    unreadable.append(
                        f"mSupply's global preference {key} cannot be read, so its default is used. Enter it again in mSupply."
                    )
        return Notes(unreadable, ConsumptionPreferences(**given))

    def _custom_data_of_stores(self) -> Mapping[str, object]:
        """Return the custom data that came with the stores' records from the older mSupply, by the id of the store.

        Up to release 2 custom fields are in these records. Release 3 keeps the records as a log: the latest that says anything
        of custom data counts, also that a field is empty now. After a deletion nothing counts that came before it. A record
        that cannot be read stands for its custom data: an older one may say what is wrong by now.
        """
        if not self.columns.has(*SYNC_RECORD):
            return {}
        record = sync_buffer.c
        query = sa.select(record.record_id, text_of(record.action), text_of(record.data))
        query = query.where(record.table_name == "store")
        if self.columns.has(record.cursor):
            # In one pass: the log has no index on the record.
            query = query.where(record.is_integrated.is_(True)).order_by(record.cursor.desc())
        else:
            # By the primary key: the records of other tables are many and large.
            query = query.where(record.record_id.in_(sa.select(store.c.id)))
        latest: dict[str, object] = {}
        for record_id, action, data in streamed(self.connection, query, _RECORDS_AT_A_TIME):
            if record_id in latest or action == "MERGE":
                continue
            if action == "DELETE":
                latest[record_id] = None
            elif (said := read_object(data)) is None:
                latest[record_id] = data
            else:
                custom_data = said.get("custom_data")
                # Empty custom data says something; none, as in the records of release 3's own protocol, does not.
                if custom_data is not None and str(custom_data).strip() not in {"", "null"}:
                    latest[record_id] = custom_data
        return latest

    def reader_of_custom_fields(self, names: Iterable[str], scopes: tuple[str, ...]) -> CustomFields:
        """Return what finds fields in a record's ``custom_fields``: by their keys, else by the names shown in the scopes."""
        field, of_scope = custom_field.c, custom_field_scope.c
        defined: dict[str, tuple[str, str]] = {}
        if self.columns.has(*field):
            query = sa.select(field.key, field.id, field.name).where(field.deleted_datetime.is_(None))
            if self.columns.has(of_scope.custom_field_id, of_scope.scope):
                is_shown = of_scope.scope.in_(scopes), self.columns.value(of_scope.deleted_datetime).is_(None)
                query = query.where(sa.exists().where(of_scope.custom_field_id == field.id, *is_shown))
            defined = {key: (field_id, shown) for key, field_id, shown in self.connection.execute(query)}
        keys: dict[str, tuple[str, ...]] = {}
        for asked in names:
            # Of two fields of the same name the first by key, whatever order the database has for letters.
            named = sorted(key for key, (_, shown) in defined.items() if shown.strip() == asked.strip())
            keys[asked] = (asked,) if asked in defined else (asked, *named[:1])
        ids = {defined[key][0]: key for of_name in keys.values() for key in of_name if key in defined}
        options: dict[tuple[str, object], str] = {}
        if self.columns.has(*custom_field_option.c):
            # A record holds an option's id. Deleted ones too: a record may hold one still, and mSupply shows its name.
            option = custom_field_option.c
            query = sa.select(option.custom_field_id, option.id, option.name)
            found = self.connection.execute(query.where(option.custom_field_id.in_(ids)))
            options = {(ids[of_field], option_id): shown for of_field, option_id, shown in found}

        def value(record: Fields, key: str) -> object:
            held = record.get(key)
            return options.get((key, held), held) if isinstance(held, str) else held

        def read(record: Fields) -> Fields:
            """Return the fields by the names that they were asked for by: the first key that has a value counts."""
            return {
                name: next(filter(has_value, [value(record, key) for key in of_name]), None)
                for name, of_name in keys.items()
            }

        return read


def places_of_name(
    it: Named, row: sa.Row[*tuple[Any, ...]], chosen: StoreSelection, custom_fields: CustomFields
) -> list[Fields]:
    """Read the custom fields of a name, by the places that hold them."""
    by_key = custom_fields(chosen.read(row.custom_fields, it))
    return [chosen.read(row.properties, it), by_key, chosen.read(row.custom_data, it)]
