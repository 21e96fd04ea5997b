"""Reading Open mSupply's own database, by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories in ``histories.py``. Every reference to an item
or a name goes through ``item_link`` or ``name_link``: a merged item's links point to the item that was kept.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import CTE, Select, exists, select

from msupply_dhis2.domain.stock import ConsumptionPreferences
from msupply_dhis2.source.base import Catalogue, Scope
from msupply_dhis2.source.fields import days_in_month, field_text, flag, item_fields
from msupply_dhis2.source.merge import Histories
from msupply_dhis2.source.open_msupply.custom_fields import (
    SCOPES_OF_ITEMS,
    SCOPES_OF_STORES,
    CustomFields,
    custom_data_of_stores,
)
from msupply_dhis2.source.open_msupply.database import Database
from msupply_dhis2.source.open_msupply.histories import OpenMsupplyHistories, line_counts
from msupply_dhis2.source.open_msupply.tables import (
    item,
    item_link,
    name,
    name_link,
    preference,
    store,
    store_preference,
)
from msupply_dhis2.source.reader import Source
from msupply_dhis2.source.selection import LOOK_BACK_FIELD, ItemSelection, StoreSelection, to_catalogue
from msupply_dhis2.source.sql import text_of

_ROWS_AT_A_TIME = 500
"""Items carry their whole record, pictures included."""

_DAYS_IN_MONTH = "days_in_month"
_ADJUST = "adjust_for_number_of_days_out_of_stock"


class OpenMsupply(Source):
    """An Open mSupply database; of a release that lacks what is needed it is refused."""

    BROKEN_PLACE = "The record as it came from mSupply (legacy_record), or the custom fields (custom_fields),"

    def _check(self) -> None:
        self._database = Database(self._connection, self._columns)
        self._database.check(self._address)

    def _read_catalogue(self, stores: StoreSelection, items: ItemSelection) -> Catalogue:
        _read_stores(self._database, stores)
        _read_items(self._database, items)
        return to_catalogue(stores, items, *_preferences(self._database))

    def _line_counts(self, stores: CTE) -> Iterable[Select[Any]]:
        return line_counts(stores)

    def _histories(self, scope: Scope) -> Histories:
        return OpenMsupplyHistories(self._database, scope, self._began, self._calendar)


def _read_stores(database: Database, stores: StoreSelection) -> None:
    query = (
        select(
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
    if database.has(store_preference):
        query = query.outerjoin(store_preference, store_preference.c.id == store.c.id)
    records = custom_data_of_stores(database)
    custom_fields = CustomFields.read(database, (stores.store_field, LOOK_BACK_FIELD), SCOPES_OF_STORES)
    for row in database.connection.execute(query):
        stores.add(
            store_id=row.id,
            code=row.code,
            name=row.name,
            places=[
                stores.read(records.get(row.id), row.code),
                stores.read(row.properties, row.code),
                custom_fields.of(stores.read(row.custom_fields, row.code)),
                stores.read(row.custom_data, row.code),
            ],
            look_back=row.look_back,
            why_not="it is disabled in mSupply" if row.is_disabled else None,
        )


def _read_items(database: Database, items: ItemSelection) -> None:
    query = (
        select(
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
        .where(exists().where(item_link.c.item_id == item.c.id))
        .order_by(item.c.id)
    )
    custom_fields = CustomFields.read(
        database, filter(None, (*items.fields, items.include_field)), SCOPES_OF_ITEMS
    )
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _ROWS_AT_A_TIME}
    )
    for row in rows:
        record = items.read(row.record, row.code)
        kept = custom_fields.of(items.read(row.custom_fields, row.code))
        items.add(
            item_id=row.id,
            code=row.code,
            name=row.name,
            universal_code=field_text(row.universal_code) or record.get("universalcodes_code"),
            places=[
                item_fields(kept, kept),
                item_fields(record, items.read(record.get("custom_data"), row.code)),
            ],
            why_not=_why_left_out(row.type, active=row.is_active is None or bool(row.is_active)),
        )


def _why_left_out(item_type: str, *, active: bool) -> str | None:
    if item_type != "STOCK":
        return f"its type is {item_type.lower().replace('_', '-')}, not stock"
    return None if active else "it is inactive in mSupply"


def _preferences(database: Database) -> tuple[ConsumptionPreferences, list[str]]:
    """Read the global preferences, and return which of them cannot be read."""
    default = ConsumptionPreferences()
    if not database.has(preference):
        return default, []
    query = (
        select(preference.c.key, text_of(preference.c.value).label("value"))
        .where(preference.c.key.in_((_DAYS_IN_MONTH, _ADJUST)), preference.c.store_id.is_(None))
        .order_by(preference.c.id.desc())
    )
    values = {row.key: row.value for row in database.connection.execute(query)}
    unreadable: list[str] = []

    def read[T](key: str, parse: Callable[[str], T | None], otherwise: T) -> T:
        if key not in values:
            return otherwise
        try:
            value = parse(values[key])
        except ValueError:
            unreadable.append(
                f"mSupply's global preference {key} cannot be read and counts as absent. Set it anew in mSupply."
            )
            return otherwise
        return otherwise if value is None else value

    preferences = ConsumptionPreferences(
        days_in_month=read(_DAYS_IN_MONTH, days_in_month, default.days_in_month),
        adjust_for_days_out_of_stock=read(_ADJUST, flag, default.adjust_for_days_out_of_stock),
    )
    return preferences, unreadable
