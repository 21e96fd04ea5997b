"""The customers of Open mSupply and their reports.

``requisition_line`` is read through once in SQLite; PostgreSQL looks the lines of the few documents of a period up by its
index on ``requisition_id``, where it is there.
"""

from collections.abc import Iterator
from typing import override

import sqlalchemy as sa

from msupply_dhis2.domain.report import DocumentKind, Reported
from msupply_dhis2.periods import add_days
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers.base import Customers, Days, Name
from msupply_dhis2.source.open_msupply.reader import SCOPES_OF_NAMES, reader_of_custom_fields
from msupply_dhis2.source.open_msupply.tables import (
    Database,
    invoice,
    item_link,
    name_link,
    store,
    sync_buffer,
)
from msupply_dhis2.source.queries import StockQueries
from msupply_dhis2.source.selection import read_object
from msupply_dhis2.source.sql import (
    Expression,
    Instant,
    JoinInOrder,
    Query,
    is_unreadable_instant,
    materialized,
    one_separator,
    stock_take_date,
    text_of,
)

_QUANTITIES = {
    "stock": "available_stock_on_hand",
    "consumption": "average_monthly_consumption",
    "initial": "initial_stock_on_hand_units",
    "received": "incoming_units",
    "issued": "outgoing_units",
    "lost": "loss_in_units",
    "added": "addition_in_units",
    "expiring": "expiring_units",
    "days_out": "days_out_of_stock",
    "requested": "requested_quantity",
}
"""Where each column of ``Reported`` is kept."""


def _table(table: str, columns: str) -> sa.TableClause:
    kinds = {each: Instant() if each.endswith("_datetime") else None for each in columns.split()}
    return sa.table(table, *[sa.column(each, kind) for each, kind in kinds.items()])


_requisition = _table(
    "requisition",
    "id requisition_number name_link_id type status created_datetime finalised_datetime linked_requisition_id is_emergency "
    "program_id period_id comment their_reference",
)
_line = _table(
    "requisition_line",
    f"id requisition_id item_link_id snapshot_datetime comment option_id {' '.join(_QUANTITIES.values())}",
)
_period = _table("period", "id start_date end_date")
_joins = _table("name_store_join", "name_link_id name_is_customer")
_name = _table("name", "id code name type is_customer deleted_datetime properties custom_fields custom_data")


class OpenMsupplyCustomers(Customers):
    """The customers of an Open mSupply database."""

    kinds = {  # noqa: RUF012 - never changed
        "RESPONSE": DocumentKind.REQUISITION,
        "IMPREST": DocumentKind.IMPREST,
        "STOCK_HISTORY": DocumentKind.STOCK_HISTORY,
    }
    required = {  # noqa: RUF012 - as above
        "name": ("type", "is_customer"),
        "requisition": (
            *("id", "requisition_number", "name_link_id", "type", "status", "created_datetime"),
            "linked_requisition_id",
        ),
        "requisition_line": ("id", "requisition_id", "item_link_id", "available_stock_on_hand"),
    }
    optional = ("period", "name_store_join", "sync_buffer")

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._database = Database(source.connection, source.columns)

    @override
    def _names(self, field: str) -> Iterator[Name]:
        database = self._database
        enabled = sa.select(name_link.c.name_id).join_from(
            name_link, store, store.c.name_link_id == name_link.c.id
        )
        if database.has_columns(store, "is_disabled"):
            enabled = enabled.where(~store.c.is_disabled)
        is_customer: Expression = _name.c.is_customer
        if database.has_columns(_joins, "name_link_id", "name_is_customer"):
            of_a_store = sa.select(name_link.c.name_id).join_from(
                name_link, _joins, _joins.c.name_link_id == name_link.c.id
            )
            is_customer = sa.or_(is_customer, _name.c.id.in_(of_a_store.where(_joins.c.name_is_customer)))
        places = [
            database.text(_name.c[each], of=_name).label(each)
            for each in ("properties", "custom_fields", "custom_data")
        ]
        query = (
            sa.select(_name.c.id, _name.c.code, _name.c.name, *places)
            .where(
                text_of(_name.c.type).in_(("FACILITY", "STORE")),
                # A name that no link points to was merged into another one.
                _name.c.id.in_(sa.select(name_link.c.name_id)),
                is_customer,
                _name.c.id.not_in(enabled),
                database.value(_name.c.deleted_datetime, of=_name).is_(None),
            )
            .order_by(_name.c.id)
        )
        read = reader_of_custom_fields(database, [field], SCOPES_OF_NAMES)
        for identifier, code, shown, properties, fields, custom_data in self._connection.execute(query):
            by_key = read_object(fields)
            by_name = by_key if by_key is None else read(by_key)
            yield Name(identifier, code, shown, (read_object(properties), by_name, read_object(custom_data)))

    @override
    def _documents(self, customers: sa.CTE, days: Days) -> sa.CTE:
        database, document = self._database, _requisition
        first: Expression = sa.null()
        last, stock_take = first, first
        tables: sa.FromClause = sa.join(document, name_link, name_link.c.id == document.c.name_link_id).join(
            customers, customers.c.id == name_link.c.name_id
        )
        if database.has_columns(_period, *_period.c.keys()) and database.has_columns(document, "period_id"):
            tables = tables.outerjoin(_period, _period.c.id == document.c.period_id)
            first, last = text_of(_period.c.start_date), text_of(_period.c.end_date)
        if database.has_columns(sync_buffer):
            stock_takes = self._stock_takes()
            tables = tables.outerjoin(stock_takes, stock_takes.c.record_id == document.c.id)
            stock_take = stock_takes.c.day
        day = sa.func.coalesce(last, stock_take)

        def value(column: str) -> Expression:
            return database.value(document.c[column], of=document)

        said = sa.func.coalesce(value("comment"), "").concat(sa.func.coalesce(value("their_reference"), ""))
        kind = text_of(document.c.type)
        is_own = sa.or_(kind != "RESPONSE", sa.func.coalesce(document.c.linked_requisition_id, "") == "")
        query = (
            sa.select(
                customers.c.number.label("customer"),
                day.label("day"),
                document.c.created_datetime.label("created"),
                document.c.id,
                kind.label("kind"),
                document.c.requisition_number.label("number"),
                value("finalised_datetime").label("finalised"),
                first.label("first"),
                last.label("last"),
                sa.or_(last.is_not(None), value("program_id").is_not(None)).label("has_program"),
                sa.func.lower(said).like("%dhis2%").label("is_from_dhis2"),
            )
            .select_from(tables)
            .where(
                kind.in_(list(self.kinds)),
                is_own,
                text_of(document.c.status) == "FINALISED",
                sa.or_(day.is_(None), self.may_be_about(days, day)),
            )
        )
        if database.has_columns(document, "is_emergency"):
            query = query.where(~document.c.is_emergency)
        return materialized(query, "document")

    def _stock_takes(self) -> sa.Subquery:
        """Select the day of the count of documents that the older mSupply has sent, as its latest record says."""
        record = sync_buffer.c
        said = stock_take_date(text_of(record.data))
        query = sa.select(record.record_id, said.label("day"), text_of(record.action).label("action"))
        query = query.where(record.table_name == "requisition")
        rank: Expression = sa.literal_column("1")
        if self._database.has_columns(sync_buffer, "cursor"):
            rank = sa.func.row_number().over(partition_by=record.record_id, order_by=record.cursor.desc())
            speaks = sa.or_(text_of(record.action) == "DELETE", said.is_not(None))
            query = query.where(record.is_integrated.is_(True), text_of(record.action) != "MERGE", speaks)
        records = query.add_columns(rank.label("rank")).subquery("record")
        is_date = sa.and_(records.c.day.like("____-__-__%"), ~records.c.day.like("0000%"))
        return (
            sa.select(records.c.record_id, records.c.day)
            .where(records.c.rank == 1, records.c.action != "DELETE", is_date)
            .subquery("stock_take")
        )

    @override
    def _lines(self, documents: sa.CTE, items: sa.CTE | None, days: Days) -> sa.CTE:
        def value(column: str | None) -> Expression:
            return sa.null() if column is None else self._database.value(_line.c[column], of=_line)

        instant = sa.func.coalesce(value("snapshot_datetime"), documents.c.created)
        start = sa.bindparam("first_instant", self._calendar.start_of_day(days.first), Instant())
        end = sa.bindparam("end_instant", self._calendar.start_of_day(add_days(days.last, 1)), Instant())
        is_in = sa.and_(one_separator(instant) >= start, one_separator(instant) < end)
        remark = sa.func.coalesce(value("comment"), "").concat(sa.func.coalesce(value("option_id"), ""))
        pair: Expression = documents.c.customer
        tables: sa.FromClause = JoinInOrder(_line, documents, documents.c.id == _line.c.requisition_id)
        if items is not None:
            links = sa.select(item_link.c.id, items.c.number)
            linked = materialized(links.join(items, items.c.id == item_link.c.item_id), "scope_link")
            tables = JoinInOrder(tables, linked, linked.c.id == _line.c.item_link_id)
            pair += linked.c.number
        query: Query = (
            sa.select(
                pair.label("pair"),
                _line.c.id.label("line_id"),
                instant.label("instant"),
                (sa.func.trim(remark) != "").label("has_remark"),
                *[value(_QUANTITIES.get(each)).label(each) for each in Reported._fields],
                *self.of_document(documents),
            )
            .select_from(tables)
            .where(sa.or_(documents.c.day.is_not(None), is_in, is_unreadable_instant(instant)))
        )
        # As in the ledger: SQLite would forgo its indexes where it is to sort in the same breath.
        return query.cte("line").prefix_with("MATERIALIZED", dialect="sqlite")

    @override
    def _of_customers(self, queries: StockQueries) -> None:
        links = sa.select(name_link.c.id, queries.stores.c.number)
        links = links.join(queries.stores, queries.stores.c.id == name_link.c.name_id)
        queries.stores = materialized(links, "customer_link")
        queries.store_id = invoice.c.name_link_id
