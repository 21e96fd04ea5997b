"""Reading the PostgreSQL mirror of the older mSupply (4D), by the rules of docs/msupply.md.

Which stores and items are sent is read here, their histories by ``queries.py`` from what ``tables.py`` describes.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, time
from functools import lru_cache

import sqlalchemy as sa

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SourceError
from msupply_dhis2.periods import add_days
from msupply_dhis2.source.base import Notes, Source
from msupply_dhis2.source.mirror.tables import (
    REQUIRED,
    STATUSES,
    TABLES,
    TYPES,
    Feature,
    MirrorColumns,
    MirrorQueries,
    item,
    store,
    transact,
)
from msupply_dhis2.source.queries import Clock, Numbers, Scope
from msupply_dhis2.source.selection import (
    CHECKBOXES,
    LOOK_BACK_FIELD,
    UNIVERSAL_CODE,
    USER_FIELDS,
    ItemSelection,
    Named,
    StoreSelection,
    item_fields,
)
from msupply_dhis2.source.sql import Column, streamed, text_of
from msupply_dhis2.text import count, listed

_ROWS_AT_A_TIME = 500

_SYSTEM_STORES = frozenset({"SM", "HIS", "DRG"})
"""Codes of the stores that the older mSupply keeps for itself."""

_WITH_UNIQUE_ID = sa.text(
    # Of the id alone and of all rows: others let a row be there twice.
    "SELECT c.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid "
    "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
    "WHERE i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = 'id' "
    "AND pg_catalog.pg_table_is_visible(c.oid)"
)


class Mirror(Source):
    """The mirror of an older mSupply; one that lacks what is needed, or is not in PostgreSQL, is refused."""

    broken_place = "item.custom_data"
    columns: MirrorColumns

    def __post_init__(self) -> None:
        """Refuse what is not in PostgreSQL or lacks what every value takes."""
        self.columns = MirrorColumns(self.columns.types)
        where = f"mSupply's database ({self.address.described}) is the mirror of the older mSupply"
        if self.connection.dialect.name != "postgresql":
            raise SourceError(
                f"{where}, in SQLite. The mirror is read from PostgreSQL: give the address of the database that the older "
                "mSupply exports to."
            )
        if missing := self.columns.missing(REQUIRED):
            raise SourceError(
                f"{where} and lacks what every value needs: {', '.join(missing)}. Let the older mSupply export these tables "
                "and columns to the mirror too."
            )

    def notes(self, items: ItemSelection) -> Notes:
        """Return what the mirror lacks; refuse what cannot be right."""
        lacking = {each: self.columns.missing(each.columns) for each in Feature}
        warnings = [_lacks(missing, each.otherwise) for each, missing in lacking.items() if missing]
        warnings += self._check_fields(items.fields, items.include_field)
        self.refuse([*self.rows_there_twice(TABLES), *self._unknown_codes()])
        missing_metrics = {Metric.EXPIRED, Metric.EXPIRING} if lacking[Feature.EXPIRING] else ()
        return Notes(warnings, missing_metrics=frozenset(missing_metrics))

    def queries(self, scope: Scope, floor: datetime) -> MirrorQueries:
        """Return what asks for the stock, in what the clock of the configured time zone shows."""
        calendar = self.calendar
        clock = Clock(
            next_instant=calendar.local_after(self.began),
            midnight=datetime.combine(calendar.day_of(self.began), time.min),
            # A day earlier, because a day that the time zone left out counts as the beginning of the next.
            floor=add_days(calendar.day_of(floor), -1),
            read=lru_cache(maxsize=4_096)(calendar.instant_at),
        )
        return MirrorQueries(self.columns, Numbers(scope), clock)

    def _check_fields(self, item_fields: Sequence[str], include_field: str | None) -> list[str]:
        """Make sure that the fields that the settings name are there, and say which are not."""
        fields = {each: _column_of(each) for each in filter(None, (*item_fields, include_field))}
        missing = {each: column for each, column in fields.items() if not self.columns.has(column)}
        lacking = ", ".join(self.columns.missing(missing.values()))
        if include_field in missing or all(each in missing for each in item_fields):
            tick = f"the tick of {include_field}"
            what = tick if include_field in missing else "the items' identifiers in DHIS2"
            raise SourceError(
                f"The mirror of the older mSupply ({self.address.described}) lacks {lacking}, where {what} is kept, so no item "
                "could be sent. Let the older mSupply export it too, or name another field in the settings (Item field reference; "
                "with different data elements per item the custom field names; Include in DHIS2 data push)."
            )
        return [_lacks([lacking], f"no item has a value in {', '.join(missing)}")] if missing else []

    def read_stores(self, stores: StoreSelection) -> None:
        """Read which stores there are."""
        code = sa.func.coalesce(text_of(store.c.code), "")
        query = sa.select(
            self.columns.identifier(store.c.id).label("id"),
            code.label("code"),
            sa.func.coalesce(sa.func.nullif(text_of(store.c.name), ""), code).label("name"),
            text_of(store.c.custom_data).label("custom_data"),
            self.columns.flag(store.c.disabled).label("is_disabled"),
        ).order_by(store.c.id)
        for row in self.connection.execute(query):
            why_not = "it is disabled in mSupply" if row.is_disabled else None
            if row.code.strip().upper() in _SYSTEM_STORES:
                why_not = "it is a store of mSupply's own (not a real store)"
            it = Named(row.id, row.code, row.name)
            fields = stores.read(row.custom_data, it)
            stores.add(it, [fields], why_not, [fields.get(LOOK_BACK_FIELD)])

    def read_items(self, items: ItemSelection) -> None:
        """Read which items there are."""
        columns = self.columns
        asked_for = {each for each in (*items.fields, items.include_field) if each in USER_FIELDS}
        if items.include_field is None:
            # To tell what could be the tick.
            asked_for |= {each for each in CHECKBOXES if columns.has(item.c[each])}
        code = sa.func.coalesce(text_of(item.c.code), "")
        query = sa.select(
            columns.identifier(item.c.id).label("id"),
            code.label("code"),
            sa.func.coalesce(sa.func.nullif(text_of(item.c.item_name), ""), code).label("name"),
            text_of(item.c.type_of).label("type"),
            columns.text(item.c.universalcodes_code).label("universal_code"),
            columns.text(item.c.custom_data).label("custom_data"),
            *[
                (columns.flag if each in CHECKBOXES else columns.text)(item.c[each]).label(each)
                for each in sorted(asked_for)
            ],
        ).order_by(item.c.id)
        for row in streamed(self.connection, query, _ROWS_AT_A_TIME):
            kind = (row.type or "").strip()
            not_stock = f"its type is {kind.replace('_', '-') or 'empty'}, not general (stock)"
            it = Named(row.id, row.code, row.name)
            fields = item_fields(
                {each: getattr(row, each) for each in asked_for}, items.read(row.custom_data, it)
            )
            items.add(it, [fields], None if kind == "general" else not_stock, row.universal_code)

    def refuse(self, faults: Sequence[str]) -> None:
        """Raise ``SourceError`` where there is any fault."""
        if faults:
            found = f"mSupply's database ({self.address.described}) is a mirror that cannot be right."
            raise SourceError("\n".join((found, *faults)))

    def rows_there_twice(self, tables: Sequence[str]) -> Iterator[str]:
        """Yield which tables have rows more than once."""
        with_unique_id = set(self.connection.execute(_WITH_UNIQUE_ID).scalars())
        for name in tables:
            if "id" not in self.columns.types.get(name, {}) or name in with_unique_id:
                continue
            identifier = sa.column("id", sa.Text)
            query = sa.select(sa.func.count(), sa.func.count(identifier.distinct()))
            rows, different = self.connection.execute(query.select_from(sa.table(name, identifier))).one()
            if rows != different:
                yield (
                    f"Rows of {name} are there more than once: {rows:,} rows have {count(different, 'value')} of id. These "
                    f"rows would count twice. Empty {name} and let the older mSupply export it again. A primary key on id "
                    "prevents this."
                )

    def _unknown_codes(self) -> Iterator[str]:
        query = sa.select(text_of(transact.c.type), text_of(transact.c.status)).distinct()
        codes = self.connection.execute(query).all()
        for name, seen, known in (
            ("type", {kind for kind, _ in codes}, TYPES),
            ("status", {status for _, status in codes}, STATUSES),
        ):
            if seen and seen.isdisjoint(known):
                shown = listed(sorted("nothing" if code is None else f"'{code}'" for code in seen))
                yield (
                    f"No transaction has a {name} that is known, so no movement would count: transact.{name} holds "
                    f"{shown}, and the older mSupply writes {', '.join(known)}. Let it be exported as it is there."
                )


def _lacks(missing: Sequence[str], otherwise: str) -> str:
    return f"The mirror lacks {', '.join(missing)}: {otherwise}. Let the older mSupply export it too if that matters."


def _column_of(field: str) -> Column:
    """Return where a field of items is kept."""
    if field == UNIVERSAL_CODE:
        return item.c.universalcodes_code
    return item.c[field if field in USER_FIELDS else "custom_data"]
