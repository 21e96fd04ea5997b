"""Where Open mSupply keeps its customers and what they report."""

from typing import override

import sqlalchemy as sa

from msupply_dhis2.domain.report import DocumentKind
from msupply_dhis2.source.customers.base import DATE, Customers, Documents, Lines
from msupply_dhis2.source.open_msupply.reader import SCOPES_OF_NAMES, OpenMsupply, places_of_name
from msupply_dhis2.source.open_msupply.tables import (
    SYNC_RECORD,
    invoice,
    item_link,
    name,
    name_link,
    store,
    sync_buffer,
)
from msupply_dhis2.source.selection import Named, StoreSelection
from msupply_dhis2.source.sql import Expression, materialized, stock_take_date, table, text_of

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


_requisition = table(
    "requisition",
    "id requisition_number name_link_id type status created_datetime finalised_datetime linked_requisition_id is_emergency "
    "program_id period_id comment their_reference",
)
_line = table(
    "requisition_line",
    f"id requisition_id item_link_id snapshot_datetime comment option_id {' '.join(_QUANTITIES.values())}",
)
_period = table("period", "id start_date end_date")
_joins = table("name_store_join", "name_link_id name_is_customer")


class OpenMsupplyCustomers(Customers):
    """The customers of an Open mSupply database."""

    kinds = {  # noqa: RUF012 - never changed
        "RESPONSE": DocumentKind.REQUISITION,
        "IMPREST": DocumentKind.IMPREST,
        "STOCK_HISTORY": DocumentKind.STOCK_HISTORY,
    }
    finalised = ("FINALISED",)
    required = (
        *name.c["type", "is_customer"],
        *_requisition.c["id", "requisition_number", "name_link_id", "type", "status"],
        *_requisition.c["created_datetime", "linked_requisition_id"],
        *_line.c["id", "requisition_id", "item_link_id", "available_stock_on_hand"],
    )
    optional = ("period", "name_store_join", "sync_buffer")
    customer_of_invoice = invoice.c.name_link_id

    def __init__(self, source: OpenMsupply) -> None:
        super().__init__(source)
        self._open_msupply, self._columns = source, source.columns
        self.documents = self._where_documents_are()
        value = self._columns.value
        self.line = Lines(
            table=_line,
            id=_line.c.id,
            document_id=_line.c.requisition_id,
            item_id=_line.c.item_link_id,
            instant=value(_line.c.snapshot_datetime),
            remarks=[value(_line.c.comment), value(_line.c.option_id)],
            quantities={name: value(_line.c[column]) for name, column in _QUANTITIES.items()},
        )

    def _where_documents_are(self) -> Documents:
        columns, it = self._columns, _requisition.c
        tables: sa.FromClause = _requisition
        first: Expression = sa.null()
        last, stock_take = first, first
        if columns.has(it.period_id, *_period.c):
            tables = tables.outerjoin(_period, _period.c.id == it.period_id)
            first, last = text_of(_period.c.start_date), text_of(_period.c.end_date)
        if columns.has(*SYNC_RECORD):
            stock_takes = self._stock_takes()
            tables = tables.outerjoin(stock_takes, stock_takes.c.record_id == it.id)
            stock_take = stock_takes.c.day
        return Documents(
            tables=tables,
            customer_id=it.name_link_id,
            id=it.id,
            kind=text_of(it.type),
            status=text_of(it.status),
            linked_to=it.linked_requisition_id,
            is_emergency=sa.func.coalesce(columns.value(it.is_emergency), sa.false(), type_=sa.Boolean),
            number=it.requisition_number,
            day=sa.func.coalesce(last, stock_take),
            created=it.created_datetime,
            finalised=columns.value(it.finalised_datetime),
            first=first,
            last=last,
            has_program=sa.or_(last.is_not(None), columns.value(it.program_id).is_not(None)),
            said=[columns.value(it.comment), columns.value(it.their_reference)],
        )

    def _stock_takes(self) -> sa.Subquery:
        """Select the day of the count of documents that the older mSupply has sent, as its latest record says."""
        record = sync_buffer.c
        said, action = stock_take_date(text_of(record.data)), text_of(record.action)
        rank: Expression = sa.literal_column("1")
        query = sa.select(record.record_id, said.label("day"), action.label("action"))
        query = query.where(record.table_name == "requisition")
        if self._columns.has(record.cursor):
            rank = sa.func.row_number().over(partition_by=record.record_id, order_by=record.cursor.desc())
            speaks = sa.or_(action == "DELETE", said.is_not(None))
            query = query.where(record.is_integrated.is_(True), action != "MERGE", speaks)
        records = query.add_columns(rank.label("rank")).subquery("record")
        is_date = sa.and_(records.c.day.like(DATE), ~records.c.day.like("0000%"))
        query = sa.select(records.c.record_id, records.c.day)
        return query.where(records.c.rank == 1, records.c.action != "DELETE", is_date).subquery("stock_take")

    @override
    def _read(self, chosen: StoreSelection) -> None:
        source = self._open_msupply
        custom_fields = source.reader_of_custom_fields([chosen.store_field], SCOPES_OF_NAMES)
        names_of = sa.select(name_link.c.name_id)
        enabled = names_of.join(store, store.c.name_link_id == name_link.c.id)
        if self._columns.has(store.c.is_disabled):
            enabled = enabled.where(~store.c.is_disabled)
        is_customer: Expression = name.c.is_customer
        if self._columns.has(*_joins.c):
            of_a_store = names_of.join(_joins, _joins.c.name_link_id == name_link.c.id)
            is_customer = sa.or_(is_customer, name.c.id.in_(of_a_store.where(_joins.c.name_is_customer)))
        query = (
            sa.select(name.c.id, name.c.code, name.c.name, *source.columns_of_fields())
            .where(
                text_of(name.c.type).in_(("FACILITY", "STORE")),
                # A name that no link points to was merged into another one.
                name.c.id.in_(names_of),
                is_customer,
                name.c.id.not_in(enabled),
                self._columns.value(name.c.deleted_datetime).is_(None),
            )
            .order_by(name.c.id)
        )
        for row in self._connection.execute(query):
            it = Named(row.id, row.code, row.name)
            chosen.add(it, places_of_name(it, row, chosen, custom_fields), None, ())

    @override
    def _links(self, numbers: sa.CTE, of: str) -> sa.CTE:
        link, target = (name_link, name_link.c.name_id) if of == "name" else (item_link, item_link.c.item_id)
        links = sa.select(link.c.id, numbers.c.number).join(numbers, numbers.c.id == target)
        return materialized(links, f"scope_{of}_link")
