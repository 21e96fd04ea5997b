"""Reading Open mSupply's own database, by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories in ``histories.py``. Every reference to an item
or a name goes through ``item_link`` or ``name_link``: a merged item's links point to the item that was kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, TableClause, and_, exists, null, select

from msupply_dhis2.credentials import DatabaseAddress
from msupply_dhis2.errors import SourceError
from msupply_dhis2.source.catalogue import Catalogue, Scope
from msupply_dhis2.source.database import Columns, faults_as_sentences
from msupply_dhis2.source.expressions import text_of
from msupply_dhis2.source.fields import (
    UNIVERSAL_CODE,
    days_in_month,
    field_text,
    flag,
    item_text,
)
from msupply_dhis2.source.histories import Oddities
from msupply_dhis2.source.open_msupply.histories import count_lines, histories
from msupply_dhis2.source.open_msupply.tables import (
    OPTIONAL,
    REQUIRED,
    item,
    item_link,
    name,
    name_link,
    preference,
    store,
    store_preference,
    sync_buffer,
)
from msupply_dhis2.source.selection import ItemSelection, StoreSelection, to_catalogue
from msupply_dhis2.stock import ConsumptionPreferences, GroupHistory, Store

_ROWS_AT_A_TIME = 500
"""Items carry their whole record, pictures included."""

_DAYS_IN_MONTH = "days_in_month"
_ADJUST = "adjust_for_number_of_days_out_of_stock"


class OpenMsupply:
    """An Open mSupply database as a ``Source``.

    Parameters
    ----------
    connection
        One read-only transaction; nothing else may use it.
    columns
        What tables there are in it.

    Raises
    ------
    SourceError
        The database is of a release that lacks what is needed.
    """

    def __init__(self, connection: Connection, address: DatabaseAddress, columns: Columns) -> None:
        self._address = address
        self._oddities = Oddities()
        self._database = _Database(connection, columns)
        self._database.check(address)

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent (see ``Source``)."""
        stores = StoreSelection(store_field)
        items = ItemSelection(
            tuple(item_fields),
            include_field,
            broken_place="The record as it came from mSupply (legacy_record)",
        )
        with faults_as_sentences(self._address):
            _read_stores(self._database, stores)
            _read_items(self._database, items)
            preferences, unreadable = _preferences(self._database)
        return to_catalogue(stores, items, preferences, unreadable)

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has (see ``Source``)."""
        with faults_as_sentences(self._address):
            return count_lines(self._database.connection, stores)

    def histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        """Stream the groups (see ``Source``)."""
        self._oddities = Oddities()
        with faults_as_sentences(self._address):
            yield from histories(self._database.connection, scope, floor, self._oddities)

    def warnings(self) -> tuple[str, ...]:
        """Give sentences about what was odd in the histories (see ``Source``)."""
        return tuple(self._oddities.sentences())


@dataclass(frozen=True, slots=True)
class _Database:
    """The connection, and which columns there are to read."""

    connection: Connection
    columns: Columns

    def check(self, address: DatabaseAddress) -> None:
        """Tell a release that will do from one that is too old."""
        missing = [
            f"{table}.{column}"
            for table, columns in REQUIRED.items()
            for column in columns
            if column not in self.columns.get(table, {})
        ]
        if missing:
            raise SourceError(
                f"mSupply's database ({address.described}) is of a release of Open mSupply that is too old: it lacks {', '.join(missing)}. Update "
                "Open mSupply; release 2.20 is known to have all that is needed."
            )

    def has(self, table: TableClause) -> bool:
        """Tell whether an optional table is there, with all that is read from it."""
        return all(column in self.columns.get(table.name, {}) for column in OPTIONAL[table.name])

    def text(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as text: NULL where the database lacks it."""
        return text_of(column) if column.name in self.columns.get(of.name, {}) else null()

    def value(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as it is: NULL where the database lacks it."""
        return column if column.name in self.columns.get(of.name, {}) else null()


def _read_stores(database: _Database, stores: StoreSelection) -> None:
    query = (
        select(
            store.c.id,
            store.c.code,
            name.c.name,
            database.value(store.c.is_disabled, of=store).label("is_disabled"),
            database.text(sync_buffer.c.data, of=sync_buffer).label("record"),
            database.text(name.c.properties, of=name).label("properties"),
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
    if database.has(sync_buffer):
        # By its primary key, and of no other table: the records of other tables are many and large.
        query = query.outerjoin(
            sync_buffer, and_(sync_buffer.c.record_id == store.c.id, sync_buffer.c.table_name == "store")
        )
    if database.has(store_preference):
        query = query.outerjoin(store_preference, store_preference.c.id == store.c.id)
    for row in database.connection.execute(query):
        record = stores.read(row.record, row.code)
        stores.add(
            store_id=row.id,
            code=row.code,
            name=row.name,
            places=[
                stores.read(record.get("custom_data"), row.code),
                stores.read(row.properties, row.code),
                stores.read(row.custom_data, row.code),
            ],
            look_back=row.look_back,
            why_not="it is disabled in mSupply" if row.is_disabled else None,
        )


def _read_items(database: _Database, items: ItemSelection) -> None:
    query = (
        select(
            item.c.id,
            item.c.code,
            item.c.name,
            text_of(item.c.type).label("type"),
            text_of(item.c.legacy_record).label("record"),
            database.value(item.c.is_active, of=item).label("is_active"),
            database.text(item.c.universal_code, of=item).label("universal_code"),
        )
        # An item that no link points to was merged into another one.
        .where(exists().where(item_link.c.item_id == item.c.id))
        .order_by(item.c.id)
    )
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _ROWS_AT_A_TIME}
    )
    for row in rows:
        record = items.read(row.record, row.code)
        custom_data = items.read(record.get("custom_data"), row.code)
        items.add(
            item_id=row.id,
            code=row.code,
            name=row.name,
            values={
                each: _item_field(each, row.universal_code, record, custom_data) for each in items.fields
            },
            user_fields=record,
            custom_data=custom_data,
            why_not=_why_left_out(row.type, active=row.is_active is None or bool(row.is_active)),
        )


def _item_field(
    field_name: str,
    universal_code: str | None,
    record: Mapping[str, object],
    custom_data: Mapping[str, object],
) -> str | None:
    if field_name == UNIVERSAL_CODE:
        return field_text(universal_code) or field_text(record.get("universalcodes_code"))
    return item_text(field_name, record, custom_data)


def _why_left_out(item_type: str, *, active: bool) -> str | None:
    if item_type != "STOCK":
        return f"its type is {item_type.lower().replace('_', '-')}, not stock"
    return None if active else "it is inactive in mSupply"


def _preferences(database: _Database) -> tuple[ConsumptionPreferences, list[str]]:
    """Read the global preferences, and say which of them cannot be read."""
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
