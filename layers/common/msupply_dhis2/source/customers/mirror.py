"""The customers of the older mSupply's mirror and their reports."""

from collections.abc import Iterator
from typing import override

import sqlalchemy as sa

from msupply_dhis2.domain.report import DocumentKind, Reported
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers.base import Customers, Days, Name
from msupply_dhis2.source.mirror.reader import refuse, rows_there_twice
from msupply_dhis2.source.mirror.tables import Database, transact
from msupply_dhis2.source.queries import StockQueries
from msupply_dhis2.source.selection import read_object
from msupply_dhis2.source.sql import Expression, Query, materialized, text_of

_QUANTITIES = {
    "stock": "stock_on_hand",
    "consumption": "daily_usage",
    "initial": "cust_prev_stock_balance",
    "received": "cust_stock_received",
    "issued": "cust_stock_issued",
    "lost": "stocklosses",
    "added": "stockadditions",
    "adjusted": "cust_loss_adjust",
    "expiring": "stockexpiring",
    "days_out": "days_out_or_new_demand",
    "other_days_out": "dosforamcadjustment",
    "requested": "cust_stock_order",
}
"""Where each column of ``Reported`` is kept."""


def _table(table: str, columns: str) -> sa.TableClause:
    return sa.table(table, *map(sa.column, columns.split()))


_requisition = _table(
    "requisition",
    "id serial_number name_id type status linked_requisition_id is_emergency programid periodid date_stock_take "
    "date_entered comment requester_reference",
)
_line = _table(
    "requisition_line", f"id requisition_id item_id comment optionid {' '.join(_QUANTITIES.values())}"
)
_period = _table("period", "id startdate enddate start_date end_date")
_name = _table("name", "id code name type customer custom_data")
_store = _table("store", "name_id disabled")


class MirrorCustomers(Customers):
    """The customers of a mirror."""

    kinds = {  # noqa: RUF012 - never changed
        "response": DocumentKind.REQUISITION,
        "report": DocumentKind.REPORT,
        "im": DocumentKind.IMPREST,
        "sh": DocumentKind.STOCK_HISTORY,
    }
    required = {  # noqa: RUF012 - as above
        "name": ("id", "code", "name", "type", "customer", "custom_data"),
        "store": ("name_id",),
        "requisition": ("id", "name_id", "type", "status", "linked_requisition_id", "date_entered"),
        "requisition_line": ("id", "requisition_id", "item_id", "stock_on_hand"),
    }
    optional = ("period",)
    days_of_consumption = 30.0

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._database = Database(source.connection, source.columns)
        tables = ("requisition", "requisition_line", "period")
        refuse([*rows_there_twice(self._database, tables)], source.address)

    @override
    def _names(self, field: str) -> Iterator[Name]:
        database = self._database
        name_of_store = database.identifier(_store.c.name_id)
        enabled = sa.select(name_of_store).where(
            ~database.flag(_store.c.disabled), name_of_store.is_not(None)
        )
        identifier = database.identifier(_name.c.id)
        query = (
            sa.select(
                identifier.label("id"),
                text_of(_name.c.code),
                text_of(_name.c.name),
                text_of(_name.c.custom_data),
            )
            .where(
                sa.func.lower(sa.func.btrim(text_of(_name.c.type))).in_(("facility", "store")),
                database.flag(_name.c.customer),
                identifier.not_in(enabled),
            )
            .order_by(_name.c.id)
        )
        for name_id, code, shown, custom_data in self._connection.execute(query):
            yield Name(name_id, code, shown, [read_object(custom_data)])

    @override
    def _documents(self, customers: sa.CTE, days: Days) -> sa.CTE:
        database, document = self._database, _requisition
        tables: sa.FromClause = sa.join(
            document, customers, customers.c.id == database.identifier(document.c.name_id)
        )
        first: Expression = sa.cast(sa.null(), sa.Text)
        last = first
        ends = [each for each in ("enddate", "end_date") if self._has(_period, each)]
        if ends and self._has(_period, "id") and self._has(document, "periodid"):
            of_document = database.identifier(_period.c.id) == database.identifier(document.c.periodid)
            tables = tables.outerjoin(_period, of_document)
            last = text_of(database.day(_period.c[ends[0]]))
            first = text_of(database.day(_period.c[ends[0].replace("end", "start")]))
        counted = [text_of(database.day(document.c[each])) for each in ("date_stock_take", "date_entered")]
        day = sa.func.coalesce(last, *counted)
        said = sa.func.concat(
            database.text(document.c.comment), database.text(document.c.requester_reference)
        )
        kind = text_of(document.c.type)
        is_own = sa.func.coalesce(text_of(document.c.linked_requisition_id), "") == ""
        has_number = self._has(document, "serial_number")
        query = (
            sa.select(
                customers.c.number.label("customer"),
                day.label("day"),
                sa.null().label("created"),
                database.identifier(document.c.id).label("id"),
                kind.label("kind"),
                (database.number(document.c.serial_number) if has_number else sa.null()).label("number"),
                sa.null().label("finalised"),
                first.label("first"),
                last.label("last"),
                (sa.func.coalesce(database.text(document.c.programid), "") != "").label("has_program"),
                sa.func.lower(said).like("%dhis2%").label("is_from_dhis2"),
            )
            .select_from(tables)
            .where(
                kind.in_(list(self.kinds)),
                sa.or_(kind != "response", is_own),
                text_of(document.c.status).in_(("fn", "wf")),
                ~database.flag(document.c.is_emergency),
                sa.or_(day.is_(None), self.may_be_about(days, day)),
            )
        )
        return materialized(query, "document")

    @override
    def _lines(self, documents: sa.CTE, items: sa.CTE | None, days: Days) -> sa.CTE:
        database = self._database
        remark = sa.func.concat(database.text(_line.c.comment), database.text(_line.c.optionid))
        of_document = documents.c.id == database.identifier(_line.c.requisition_id)
        tables: sa.FromClause = sa.join(_line, documents, of_document)
        pair: Expression = documents.c.customer
        if items is not None:
            tables = tables.join(items, items.c.id == database.identifier(_line.c.item_id))
            pair += items.c.number
        quantities = [
            (database.number(_line.c[column]) if self._has(_line, column) else sa.null()).label(each)
            for each, column in ((each, _QUANTITIES[each]) for each in Reported._fields)
        ]
        query: Query = sa.select(
            pair.label("pair"),
            text_of(_line.c.id).label("line_id"),
            sa.null().label("instant"),
            (sa.func.btrim(remark) != "").label("has_remark"),
            *quantities,
            *self.of_document(documents),
        ).select_from(tables)
        return query.cte("line")

    @override
    def _of_customers(self, queries: StockQueries) -> None:
        queries.store_id = self._database.identifier(transact.c.name_id)

    def _has(self, table: sa.TableClause, column: str) -> bool:
        return column in self._database.columns.get(table.name, {})
