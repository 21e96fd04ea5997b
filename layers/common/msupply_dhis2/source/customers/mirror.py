"""Where the older mSupply's mirror keeps its customers and what they report."""

from typing import override

import sqlalchemy as sa

from msupply_dhis2.domain.report import DocumentKind
from msupply_dhis2.source.customers.base import Customers, Documents, Lines
from msupply_dhis2.source.mirror.reader import Mirror
from msupply_dhis2.source.mirror.tables import transact
from msupply_dhis2.source.selection import Named, StoreSelection
from msupply_dhis2.source.sql import Expression, table, text_of

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

_NO_INSTANT: Expression = sa.cast(sa.null(), sa.DateTime)

_requisition = table(
    "requisition",
    "id serial_number name_id type status linked_requisition_id is_emergency programid periodid date_stock_take "
    "date_entered comment requester_reference",
)
_line = table(
    "requisition_line", f"id requisition_id item_id comment optionid {' '.join(_QUANTITIES.values())}"
)
_period = table("period", "id startdate enddate start_date end_date")
_name = table("name", "id code name type customer custom_data")
_store = table("store", "name_id disabled")


class MirrorCustomers(Customers):
    """The customers of a mirror."""

    kinds = {  # noqa: RUF012 - never changed
        "response": DocumentKind.REQUISITION,
        "report": DocumentKind.REPORT,
        "im": DocumentKind.IMPREST,
        "sh": DocumentKind.STOCK_HISTORY,
    }
    finalised = ("fn", "wf")
    required = (
        *_name.c,
        _store.c.name_id,
        *_requisition.c["id", "name_id", "type", "status", "linked_requisition_id", "date_entered"],
        *_line.c["id", "requisition_id", "item_id", "stock_on_hand"],
    )
    optional = ("period",)
    days_of_consumption = 30.0

    def __init__(self, source: Mirror) -> None:
        super().__init__(source)
        self._columns, self._id = source.columns, source.columns.identifier
        source.refuse([*source.rows_there_twice(("requisition", "requisition_line", "period"))])
        self.customer_of_invoice = self._id(transact.c.name_id)
        self.documents = self._where_documents_are()
        self.line = Lines(
            table=_line,
            id=text_of(_line.c.id),
            document_id=self._id(_line.c.requisition_id),
            item_id=self._id(_line.c.item_id),
            instant=_NO_INSTANT,
            remarks=[self._columns.text(_line.c.comment), self._columns.text(_line.c.optionid)],
            quantities={name: self._columns.number(_line.c[column]) for name, column in _QUANTITIES.items()},
        )

    def _where_documents_are(self) -> Documents:
        columns, it = self._columns, _requisition.c
        tables: sa.FromClause = _requisition
        first: Expression = sa.cast(sa.null(), sa.Text)
        last = first
        ends = [each for each in (_period.c.enddate, _period.c.end_date) if columns.has(each)]
        if ends and columns.has(_period.c.id, it.periodid):
            tables = tables.outerjoin(_period, self._id(_period.c.id) == self._id(it.periodid))
            last = text_of(columns.day(ends[0]))
            first = text_of(columns.day(_period.c[ends[0].name.replace("end", "start")]))
        counted = [text_of(columns.day(each)) for each in (it.date_stock_take, it.date_entered)]
        return Documents(
            tables=tables,
            customer_id=self._id(it.name_id),
            id=self._id(it.id),
            kind=text_of(it.type),
            status=text_of(it.status),
            linked_to=text_of(it.linked_requisition_id),
            is_emergency=columns.flag(it.is_emergency),
            number=columns.number(it.serial_number),
            day=sa.func.coalesce(last, *counted),
            created=_NO_INSTANT,
            finalised=_NO_INSTANT,
            first=first,
            last=last,
            has_program=sa.func.coalesce(columns.text(it.programid), "") != "",
            said=[columns.text(it.comment), columns.text(it.requester_reference)],
        )

    @override
    def _read(self, chosen: StoreSelection) -> None:
        columns, name_of_store = self._columns, self._id(_store.c.name_id)
        enabled = sa.select(name_of_store).where(~columns.flag(_store.c.disabled), name_of_store.is_not(None))
        code = sa.func.coalesce(text_of(_name.c.code), "")
        query = (
            sa.select(
                self._id(_name.c.id).label("id"),
                code.label("code"),
                sa.func.coalesce(text_of(_name.c.name), code).label("name"),
                text_of(_name.c.custom_data).label("custom_data"),
            )
            .where(
                sa.func.lower(sa.func.btrim(text_of(_name.c.type))).in_(("facility", "store")),
                columns.flag(_name.c.customer),
                self._id(_name.c.id).not_in(enabled),
            )
            .order_by(_name.c.id)
        )
        for row in self._connection.execute(query):
            it = Named(row.id, row.code, row.name)
            chosen.add(it, [chosen.read(row.custom_data, it)], None, ())

    @override
    def _links(self, numbers: sa.CTE, of: str) -> sa.CTE:
        return numbers
