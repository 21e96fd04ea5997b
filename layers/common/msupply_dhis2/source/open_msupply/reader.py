"""Reading Open mSupply's own database, by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories in ``histories.py``. Every reference to an item
or a name goes through ``item_link`` or ``name_link``: a merged item's links point to the item that was kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, TableClause, and_, exists, null, select

from msupply_dhis2.credentials import DatabaseAddress
from msupply_dhis2.errors import SourceError
from msupply_dhis2.source.catalogue import Catalogue, Kind, LeftOut, Scope
from msupply_dhis2.source.database import faults_as_sentences, read_columns
from msupply_dhis2.source.expressions import text_of
from msupply_dhis2.source.fields import (
    UNIVERSAL_CODE,
    USER_FIELDS,
    days_in_month,
    field_text,
    flag,
    is_ticked,
    item_text,
    look_back_months,
    read_object,
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
from msupply_dhis2.source.sentences import some_of
from msupply_dhis2.stock import ConsumptionPreferences, GroupHistory, Item, Store

_ROWS_AT_A_TIME = 500
"""Items carry their whole record, pictures included."""

_SIGNS = ("invoice", "invoice_line", "stock_line", "item_link", "name_link")
"""Tables by which Open mSupply's database is known."""

_SIGNS_OF_MIRROR = ("transact", "trans_line")

_LOOK_BACK_FIELD = "monthlyConsumptionLookBackPeriod"
_DAYS_IN_MONTH = "days_in_month"
_ADJUST = "adjust_for_number_of_days_out_of_stock"

_by_code = attrgetter("code", "id")


class OpenMsupply:
    """An Open mSupply database as a ``Source``.

    Parameters
    ----------
    connection
        One read-only transaction; nothing else may use it.

    Raises
    ------
    SourceError
        The database is another program's, or of a release that lacks what is needed.
    """

    def __init__(self, connection: Connection, address: DatabaseAddress) -> None:
        self._address = address
        self._oddities = Oddities()
        with faults_as_sentences(address):
            self._database = _Database(connection, read_columns(connection))
        self._database.check(address)

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent (see ``Source``)."""
        stores = _Stores(store_field)
        items = _Items(tuple(item_fields), include_field)
        with faults_as_sentences(self._address):
            stores.read(self._database)
            items.read(self._database)
            preferences, unreadable = _preferences(self._database)
        stores.check()
        items.check()
        return Catalogue(
            stores=tuple(sorted(stores.sent, key=_by_code)),
            items=tuple(sorted(items.sent, key=_by_code)),
            items_without_reference=items.without_reference,
            items_not_included=items.not_included,
            preferences=preferences,
            left_out=(*stores.left_out, *items.left_out),
            warnings=(*stores.warnings(), *items.warnings(), *unreadable),
        )

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
    columns: Mapping[str, frozenset[str]]

    def check(self, address: DatabaseAddress) -> None:
        """Tell Open mSupply's database from others, and a release that will do from one that is too old."""
        where = f"mSupply's database ({address.described})"
        if not any(table in self.columns for table in _SIGNS):
            if all(table in self.columns for table in _SIGNS_OF_MIRROR):
                raise SourceError(
                    f"{where} is the mirror of the older mSupply (it has the tables transact and trans_line), which "
                    "is not supported in this release. Give the address of Open mSupply's own database."
                )
            raise SourceError(
                f"{where} is not Open mSupply's: it has none of the tables {', '.join(_SIGNS)}. Check the name of "
                "the database, and that it is the central server's."
            )
        missing = [
            f"{table}.{column}"
            for table, columns in REQUIRED.items()
            for column in columns
            if column not in self.columns.get(table, ())
        ]
        if missing:
            raise SourceError(
                f"{where} is of a release of Open mSupply that is too old: it lacks {', '.join(missing)}. Update "
                "Open mSupply; release 2.20 is known to have all that is needed."
            )

    def has(self, table: TableClause) -> bool:
        """Tell whether an optional table is there, with all that is read from it."""
        return self.columns.get(table.name, frozenset()).issuperset(OPTIONAL[table.name])

    def text(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as text: NULL where the database lacks it."""
        return text_of(column) if column.name in self.columns.get(of.name, ()) else null()

    def value(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as it is: NULL where the database lacks it."""
        return column if column.name in self.columns.get(of.name, ()) else null()


@dataclass(slots=True)
class _Stores:
    """Reads which stores are sent: those with a value in the store field that are not disabled."""

    store_field: str
    sent: list[Store] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unreadable_look_backs: list[str] = field(default_factory=list)

    def read(self, database: _Database) -> None:
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
            places = [
                self._custom_data_of_record(row.record, row.code),
                self._object(row.properties, row.code),
                self._object(row.custom_data, row.code),
            ]
            org_unit = _first_text(places, self.store_field)
            if org_unit is None:
                continue
            if row.is_disabled:
                self.left_out.append(LeftOut(Kind.STORE, row.code, row.name, "it is disabled in mSupply"))
                continue
            look_back = self._look_back(row.code, row.look_back, _first_text(places, _LOOK_BACK_FIELD))
            self.sent.append(Store(row.id, row.code, row.name, org_unit, look_back))

    def _custom_data_of_record(self, record: object, code: str) -> Mapping[str, object]:
        return self._object(self._object(record, code).get("custom_data"), code)

    def _object(self, value: object, code: str) -> Mapping[str, object]:
        read = read_object(value)
        if read is None:
            self.unreadable.append(code)
            return {}
        return read

    def _look_back(self, code: str, preferred: object, custom: str | None) -> Fraction | None:
        """Give the store's look-back: its preference, else its custom field."""
        for value in (preferred, custom):
            try:
                months = look_back_months(value)
            except ValueError:
                self.unreadable_look_backs.append(code)
                continue
            if months is not None:
                return months
        return None

    def check(self) -> None:
        if self.sent:
            return
        if self.left_out:
            raise SourceError(
                f"All {len(self.left_out):,} stores with a value in the custom field '{self.store_field}' (Store "
                "field reference) are disabled in mSupply. Enable those that are to be sent."
            )
        raise SourceError(
            f"No store in mSupply has a value in the custom field '{self.store_field}' (Store field reference). "
            "In mSupply, open each store that is to be sent and fill in this custom field with the code or UID "
            "of its org unit in DHIS2; it must be spelt exactly so."
        )

    def warnings(self) -> Iterator[str]:
        if self.unreadable:
            yield (
                f"Custom fields that cannot be read (broken JSON) count as empty, in stores "
                f"{some_of(self.unreadable)}."
            )
        if self.unreadable_look_backs:
            yield (
                f"The look-back for average monthly consumption cannot be read and counts as absent, in stores "
                f"{some_of(self.unreadable_look_backs)}. Enter a number of months in mSupply."
            )


def _first_text(places: Sequence[Mapping[str, object]], key: str) -> str | None:
    """Give the value of the first place that is not blank."""
    return next((text for place in places if (text := field_text(place.get(key))) is not None), None)


@dataclass(slots=True)
class _Items:
    """Reads which items are sent: included, with a value in one of the fields, active and of type stock."""

    fields: tuple[str, ...]
    include_field: str | None
    sent: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    without_reference: int = 0
    not_included: int = 0
    broken: list[str] = field(default_factory=list)

    def read(self, database: _Database) -> None:
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
            record = self._object(row.record, row.code)
            custom_data = self._object(record.get("custom_data"), row.code)
            fields = {
                each: text
                for each in self.fields
                if (text := _item_field(each, row.universal_code, record, custom_data)) is not None
            }
            included = self._is_included(record, custom_data)
            reason = _why_left_out(row.type, active=row.is_active is None or bool(row.is_active))
            if not fields:
                self.without_reference += included and reason is None
            elif not included:
                self.not_included += 1
            elif reason is not None:
                self.left_out.append(LeftOut(Kind.ITEM, row.code, row.name, reason))
            else:
                self.sent.append(Item(row.id, row.code, row.name, fields))

    def _object(self, value: object, code: str) -> Mapping[str, object]:
        read = read_object(value)
        if read is None:
            self.broken.append(code)
            return {}
        return read

    def _is_included(self, record: Mapping[str, object], custom_data: Mapping[str, object]) -> bool:
        if self.include_field is None:
            return True
        place = record if self.include_field in USER_FIELDS else custom_data
        return is_ticked(place.get(self.include_field))

    def check(self) -> None:
        if self.sent:
            return
        fields = " or ".join(_described(each) for each in self.fields)
        if self.left_out or self.not_included:
            ticked = f"; {self.not_included:,} lack the tick of {self.include_field}" * bool(
                self.not_included
            )
            inactive = f"; {len(self.left_out):,} are inactive or not of type stock" * bool(self.left_out)
            raise SourceError(
                f"No item in mSupply with a value in {fields} can be sent{ticked}{inactive}. In mSupply, correct "
                "the items that are to be sent."
            )
        raise SourceError(
            f"No item in mSupply has a value in {fields}. In mSupply, open each item that is to be sent and fill "
            "it in with the item's identifier in DHIS2, or name another field in the settings (Item field "
            "reference; with different data elements per item the custom field names)."
        )

    def warnings(self) -> Iterator[str]:
        if self.broken:
            yield (
                "The record as it came from mSupply (legacy_record) cannot be read, so these items have no user "
                f"fields or no custom data: {some_of(self.broken)}."
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


def _described(field_name: str) -> str:
    if field_name == UNIVERSAL_CODE:
        return "the universal code"
    if field_name in USER_FIELDS:
        return field_name.replace("_", " ")
    return f"'{field_name}' of the custom data"


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
