"""Reading the PostgreSQL mirror of the older mSupply (4D), by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories in ``histories.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import CTE, Select, select

from msupply_dhis2.domain.stock import ConsumptionPreferences
from msupply_dhis2.errors import SourceError
from msupply_dhis2.source.base import Catalogue, Scope
from msupply_dhis2.source.fields import UNIVERSAL_CODE, USER_FIELDS, item_fields
from msupply_dhis2.source.merge import Histories
from msupply_dhis2.source.mirror.columns import Database, lacks
from msupply_dhis2.source.mirror.contents import check_contents
from msupply_dhis2.source.mirror.histories import MirrorHistories, line_counts
from msupply_dhis2.source.mirror.tables import REQUIRED, item, store
from msupply_dhis2.source.reader import Source
from msupply_dhis2.source.selection import ItemSelection, StoreSelection, to_catalogue
from msupply_dhis2.source.sql import text_of

_ROWS_AT_A_TIME = 500

_SYSTEM_STORES = frozenset({"SM", "HIS", "DRG"})
"""Codes of the stores that the older mSupply keeps for itself."""

_BOOLEAN_FIELDS = frozenset({"user_field_4", "user_field_7"})
_NUMBER_FIELD = "user_field_5"


class Mirror(Source):
    """The mirror of an older mSupply; one that lacks what is needed, or is not in PostgreSQL, is refused."""

    BROKEN_PLACE = "The custom data (item.custom_data)"

    def _check(self) -> None:
        self._database = Database(self._connection, self._columns)
        where = f"mSupply's database ({self._address.described}) is the mirror of the older mSupply"
        if self._connection.dialect.name != "postgresql":
            raise SourceError(
                f"{where}, in SQLite. The mirror is read from PostgreSQL: give the address of the database that the "
                "older mSupply exports to."
            )
        if missing := self._database.missing(REQUIRED):
            raise SourceError(
                f"{where} and lacks what every value takes: {', '.join(missing)}. Let the older mSupply export these "
                "tables and columns to the mirror too."
            )

    def _read_catalogue(self, stores: StoreSelection, items: ItemSelection) -> Catalogue:
        missing = self._check_fields(items.fields, items.include_field)
        check_contents(self._database, self._address)
        _read_stores(self._database, stores)
        _read_items(self._database, items)
        warnings = [*self._database.warnings(), *missing]
        return to_catalogue(
            stores, items, ConsumptionPreferences(), warnings, self._database.missing_metrics()
        )

    def _line_counts(self, stores: CTE) -> Iterable[Select[Any]]:
        return line_counts(self._database, stores)

    def _histories(self, scope: Scope) -> Histories:
        return MirrorHistories(self._database, scope, self._began, self._calendar)

    def _check_fields(self, item_fields: Sequence[str], include_field: str | None) -> list[str]:
        """Make sure that the fields that the settings name are there, and say which are not."""
        missing = {
            each: names
            for each in (*item_fields, *([] if include_field is None else [include_field]))
            if (names := self._database.missing({"item": (_column_of(each),)}))
        }
        lacking = ", ".join(dict.fromkeys(name for names in missing.values() for name in names))
        where = f"The mirror of the older mSupply ({self._address.described}) lacks {lacking}"
        if include_field in missing:
            raise SourceError(
                f"{where}, where the tick of {include_field} is kept, so that no item counts as included. Let the "
                "older mSupply export it too, or name another include field in the settings."
            )
        if all(each in missing for each in item_fields):
            raise SourceError(
                f"{where}, where the items' identifiers in DHIS2 are kept. Let the older mSupply export it too, or "
                "name another field in the settings (Item field reference; with different data elements per item the "
                "custom field names)."
            )
        if not missing:
            return []
        return [lacks([lacking], f"no item has a value in {', '.join(missing)}")]


def _read_stores(database: Database, stores: StoreSelection) -> None:
    query = select(
        database.identifier(store.c.id).label("id"),
        text_of(store.c.code).label("code"),
        text_of(store.c.name).label("name"),
        text_of(store.c.custom_data).label("custom_data"),
        database.flag(store.c.disabled).label("is_disabled"),
    ).order_by(store.c.id)
    for row in database.connection.execute(query):
        code = row.code or ""
        why_not = "it is disabled in mSupply" if row.is_disabled else None
        if code.strip().upper() in _SYSTEM_STORES:
            why_not = "it is a store that mSupply keeps for itself"
        stores.add(
            store_id=row.id,
            code=code,
            name=row.name or code,
            places=[stores.read(row.custom_data, code)],
            why_not=why_not,
        )


def _read_items(database: Database, items: ItemSelection) -> None:
    asked_for = {each for each in (*items.fields, items.include_field) if each in USER_FIELDS}
    query = select(
        database.identifier(item.c.id).label("id"),
        text_of(item.c.code).label("code"),
        text_of(item.c.item_name).label("name"),
        text_of(item.c.type_of).label("type"),
        database.text(item.c.universalcodes_code).label("universal_code"),
        database.text(item.c.custom_data).label("custom_data"),
        *(
            (database.flag(item.c[each]) if each in _BOOLEAN_FIELDS else database.text(item.c[each])).label(
                each
            )
            for each in sorted(asked_for)
        ),
    ).order_by(item.c.id)
    rows = database.connection.execute(
        query, execution_options={"stream_results": True, "yield_per": _ROWS_AT_A_TIME}
    )
    for row in rows:
        code = row.code or ""
        items.add(
            item_id=row.id,
            code=code,
            name=row.name or code,
            universal_code=row.universal_code,
            places=[item_fields(_user_fields(row, asked_for), items.read(row.custom_data, code))],
            why_not=_why_left_out((row.type or "").strip()),
        )


def _column_of(field: str) -> str:
    """Return the column of ``item`` that a field is kept in."""
    if field == UNIVERSAL_CODE:
        return "universalcodes_code"
    return field if field in USER_FIELDS else "custom_data"


def _user_fields(row: Any, names: set[str]) -> Mapping[str, object]:  # noqa: ANN401 - a row of any columns
    fields: dict[str, object] = {name: getattr(row, name) for name in names}
    number = fields.get(_NUMBER_FIELD)
    if isinstance(number, str):
        # So that the 0 of items where nobody has entered anything is told from a value.
        try:
            fields[_NUMBER_FIELD] = Decimal(number.strip())
        except InvalidOperation:
            fields[_NUMBER_FIELD] = number
    return fields


def _why_left_out(item_type: str) -> str | None:
    if item_type == "general":
        return None
    return f"its type is {item_type.replace('_', '-') or 'empty'}, not general (stock)"
