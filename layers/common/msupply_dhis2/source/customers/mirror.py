"""Where the older mSupply's mirror keeps its customers and what they report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import override

import sqlalchemy as sa

from msupply_dhis2.domain.report import DocumentKind
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers.base import Customers, Documents, Lines
from msupply_dhis2.source.mirror.reader import refuse, rows_there_twice
from msupply_dhis2.source.mirror.tables import Database, transact
from msupply_dhis2.source.selection import read_object
from msupply_dhis2.source.sql import Expression, text_of

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
        self._database = database = Database(source.connection, source.columns)
        self._id = identifier = database.identifier
        refuse([*rows_there_twice(database, ("requisition", "requisition_line", "period"))], source.address)
        self.customer_of_invoice = identifier(transact.c.name_id)
        self.documents = self._where_documents_are()
        self.line = Lines(
            table=_line,
            id=text_of(_line.c.id),
            document_id=identifier(_line.c.requisition_id),
            item_id=identifier(_line.c.item_id),
            instant=_NO_INSTANT,
            remark=sa.func.concat(database.text(_line.c.comment), database.text(_line.c.optionid)),
            quantities={
                name: database.number(_line.c[column])
                for name, column in _QUANTITIES.items()
                if self._has(_line.c[column])
            },
        )

    def _where_documents_are(self) -> Documents:
        database, it = self._database, _requisition.c
        tables: sa.FromClause = _requisition
        first: Expression = sa.cast(sa.null(), sa.Text)
        last = first
        ends = [each for each in (_period.c.enddate, _period.c.end_date) if self._has(each)]
        if ends and self._has(_period.c.id, it.periodid):
            tables = tables.outerjoin(_period, self._id(_period.c.id) == self._id(it.periodid))
            last = text_of(database.day(ends[0]))
            first = text_of(database.day(_period.c[ends[0].name.replace("end", "start")]))
        counted = [text_of(database.day(each)) for each in (it.date_stock_take, it.date_entered)]
        kind = text_of(it.type)
        return Documents(
            tables=tables,
            counts=sa.and_(
                kind.in_(list(self.kinds)),
                # A linked one is a store's own order.
                sa.or_(kind != "response", sa.func.coalesce(text_of(it.linked_requisition_id), "") == ""),
                text_of(it.status).in_(("fn", "wf")),
                ~database.flag(it.is_emergency),
            ),
            customer_id=self._id(it.name_id),
            id=self._id(it.id),
            kind=kind,
            number=database.number(it.serial_number) if self._has(it.serial_number) else sa.null(),
            day=sa.func.coalesce(last, *counted),
            created=_NO_INSTANT,
            finalised=_NO_INSTANT,
            first=first,
            last=last,
            has_program=sa.func.coalesce(database.text(it.programid), "") != "",
            said=sa.func.concat(database.text(it.comment), database.text(it.requester_reference)),
        )

    @override
    def _names(self, field: str) -> Iterator[tuple[str, str, str, Sequence[Mapping[str, object] | None]]]:
        database, name_of_store = self._database, self._id(_store.c.name_id)
        enabled = sa.select(name_of_store).where(
            ~database.flag(_store.c.disabled), name_of_store.is_not(None)
        )
        code = sa.func.coalesce(text_of(_name.c.code), "")
        name = sa.func.coalesce(text_of(_name.c.name), code)
        query = (
            sa.select(self._id(_name.c.id).label("id"), code, name, text_of(_name.c.custom_data))
            .where(
                sa.func.lower(sa.func.btrim(text_of(_name.c.type))).in_(("facility", "store")),
                database.flag(_name.c.customer),
                self._id(_name.c.id).not_in(enabled),
            )
            .order_by(_name.c.id)
        )
        for *about, custom_data in self._connection.execute(query):
            yield *about, [read_object(custom_data)]  # type: ignore[misc]

    @override
    def _links(self, numbers: sa.CTE, of: str) -> sa.CTE:
        return numbers
