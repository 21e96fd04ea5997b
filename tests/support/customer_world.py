"""Customers that are no stores and what they report, in a small database of either kind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.result import ComputeResult
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import DatabaseAddress, parse_database_address
from msupply_dhis2.source import open_source
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import CALENDAR, OpenMsupplyDatabase

COLUMNS = {
    # What it is here: in Open mSupply, in the mirror.
    "stock": ("available_stock_on_hand", "stock_on_hand"),
    "consumption": ("average_monthly_consumption", "daily_usage"),
    "initial": ("initial_stock_on_hand_units", "cust_prev_stock_balance"),
    "received": ("incoming_units", "cust_stock_received"),
    "issued": ("outgoing_units", "cust_stock_issued"),
    "lost": ("loss_in_units", "stocklosses"),
    "added": ("addition_in_units", "stockadditions"),
    "expiring": ("expiring_units", "stockexpiring"),
    "days_out": ("days_out_of_stock", "days_out_or_new_demand"),
    "requested": ("requested_quantity", "cust_stock_order"),
    "adjusted": (None, "cust_loss_adjust"),
    "other_days_out": (None, "dosforamcadjustment"),
    "comment": ("comment", "comment"),
    "reason": ("option_id", "optionid"),
    "snapshot": ("snapshot_datetime", None),
}
TYPES = {
    "requisition": ("RESPONSE", "response"),
    "imprest": ("IMPREST", "im"),
    "stock history": ("STOCK_HISTORY", "sh"),
    "report": (None, "report"),
    "request": ("REQUEST", "request"),
}
JANUARY = ("2026-01-01", "2026-01-31")


def settings_of(metrics: Mapping[Metric, str] | None = None, **changes: object) -> Settings:
    """All metrics, each an option combo called like itself, on a basis that the event may override."""
    bases = metrics or dict.fromkeys(Metric, "previous_month")
    rows = [
        {
            "metric": metric,
            "active": True,
            "interval": "monthly",
            "basis": basis,
            "category_option_id": metric,
            "category_option_combo_id_scheme": "code",
        }
        for metric, basis in bases.items()
    ]
    document = {
        "use_dhis2": True,
        "url": "https://dhis2.example.org",
        "setup": "category_option_combo",
        "data_elements": rows,
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        "customers": "requisitions",
        **changes,
    }
    return parse_settings(json.dumps(document))


@dataclass
class Computed:
    """What a run came to."""

    result: ComputeResult
    values: list[DataValue] = field(default_factory=list)

    def of(self, org_unit: str, item: str = "amoxicillin") -> dict[str, str]:
        """Return the values of an org unit and item, by metric."""
        return {
            value.metric.value: value.value
            for value in self.values
            if (value.org_unit, value.data_element) == (org_unit, f"uc-{item}")
        }

    @property
    def warnings(self) -> str:
        return "\n".join((*self.result.warnings, *self.result.skipped))


class CustomerWorld:
    """A database with one store, two items and whatever customers a test adds."""

    def __init__(self, database: OpenMsupplyDatabase | MirrorDatabase) -> None:
        self.database = database
        self.is_mirror = isinstance(database, MirrorDatabase)
        self.kind = database.engine.dialect.name
        self._numbers = count(1)
        self.store = database.add_store("KAMO")
        self.amoxicillin = database.add_item("amoxicillin")
        self.paracetamol = database.add_item("paracetamol")

    def customer(self, code: str, org_unit: str | None = "", **values: Any) -> str:  # noqa: ANN401 - columns
        """Add a customer, by default with the org unit ``OU_`` and its code; ``None``: without any."""
        fields = {} if org_unit is None else {"Dhis2Code": org_unit or f"OU_{code}"}
        row: dict[str, Any] = {"code": code, "name": f"{code} post", "custom_data": json.dumps(fields)}
        if isinstance(self.database, MirrorDatabase):
            row = {"type": "facility", "customer": True, **row, **values}
            return self.database.add("name", id=f"customer-{code}", **row)
        customer = self.database.add("name", id=f"customer-{code}", **row | values)
        return self.database.add("name_link", id=customer, name_id=customer)

    def report(
        self,
        customer: str,
        *lines: Mapping[str, Any],
        kind: str = "requisition",
        period: tuple[str, str] | None = JANUARY,
        number: int | None = None,
        finalised: str | None = "2026-02-05 00:00:00",
        **values: Any,  # noqa: ANN401 - columns
    ) -> str:
        """Add a finalised document. A line has an ``item`` (amoxicillin) and columns by the names of ``COLUMNS``."""
        number = next(self._numbers) if number is None else number
        period_id = period and self.period(*period)
        if isinstance(self.database, MirrorDatabase):
            mirror = {
                "name_id": customer,
                "serial_number": number,
                "type": TYPES[kind][1],
                "status": "fn",
                "periodid": period_id or "",
                "programid": "a program" if period else "",
                "is_emergency": False,
                "date_entered": "2026-01-20",
                "linked_requisition_id": "",
            }
            document = self.database.add("requisition", **mirror | values)
        else:
            row = {
                "store_id": self.store,
                "name_link_id": customer,
                "requisition_number": number,
                "type": TYPES[kind][0],
                "status": "FINALISED",
                "period_id": period_id,
                "program_id": "a program" if period else None,
                "is_emergency": False,
                "created_datetime": "2026-01-20 00:00:00",
                "finalised_datetime": finalised,
            }
            document = self.database.add("requisition", **row | values)
        for line in lines:
            self.line(document, **line)
        return document

    def line(self, document: str, item: str | None = None, **columns: Any) -> None:  # noqa: ANN401 - columns
        row = {str(COLUMNS[name][self.is_mirror]): value for name, value in columns.items()}
        if "daily_usage" in row:
            row["daily_usage"] /= 30
        item = item or self.amoxicillin
        if isinstance(self.database, MirrorDatabase):
            self.database.add("requisition_line", requisition_id=document, item_id=item, **row)
        else:
            self.database.add(
                "requisition_line", requisition_id=document, item_link_id=item, item_name="", **row
            )

    def period(self, first: str, last: str) -> str:
        """Add a period of mSupply."""
        if isinstance(self.database, MirrorDatabase):
            return self.database.add("period", startdate=first, enddate=last)
        return self.database.add(
            "period", start_date=first, end_date=last, name="", period_schedule_id="monthly"
        )

    def move(self, customer: str, store: str, kind: str, packs: float, day: str, hour: int) -> None:
        """Issue amoxicillin to a customer, or take it back, at an hour in UTC."""
        if isinstance(self.database, MirrorDatabase):
            local = CALENDAR.parse_instant(f"{day}T{hour:02}:00+00:00").astimezone(CALENDAR.time_zone)
            code = "cc" if kind == "return" else "ci"
            mode = "dispensary" if kind == "prescription" else "store"
            transaction = self.database.add_transaction(
                store, code, f"{local:%Y-%m-%d}", local.hour * 3600, name_id=customer, mode=mode
            )
            self.database.add_line(transaction, self.amoxicillin, packs)
            return
        types = {"out": "OUTBOUND_SHIPMENT", "return": "CUSTOMER_RETURN", "prescription": "PRESCRIPTION"}
        invoice = self.database.add_invoice(
            store, types[kind], f"{day} {hour:02}:00:00", name_link_id=customer
        )
        self.database.add_line(invoice, self.amoxicillin, packs)

    def cancelled_issue(self, customer: str, day: str, packs: float) -> None:
        """Issue, and cancel it ten seconds later, which is the next month."""
        if isinstance(self.database, MirrorDatabase):
            issue = self.database.add_transaction(self.store, "ci", day, 86_395, name_id=customer)
            cancel = self.database.add_transaction(
                *(self.store, "ci", "2026-02-01", 5),
                name_id=customer,
                is_cancellation=True,
                linked_transaction_id=issue,
            )
            self.database.add_line(cancel, self.amoxicillin, -packs, type="stock_out")
        else:
            issue = self.database.add_invoice(
                self.store, "OUTBOUND_SHIPMENT", f"{day} 10:59:55", name_link_id=customer, status="CANCELLED"
            )
            cancel = self.database.add_invoice(
                *(self.store, "OUTBOUND_SHIPMENT", f"{day} 11:00:05"),
                name_link_id=customer,
                is_cancellation=True,
                linked_invoice_id=issue,
            )
            self.database.add_line(cancel, self.amoxicillin, packs)
        self.database.add_line(issue, self.amoxicillin, -packs)

    def compute(
        self,
        settings: Settings | None = None,
        as_of: str = "2026-02-10",
        *,
        user: str | None = None,
        lines_per_invocation: int | None = None,
        **event: object,
    ) -> Computed:
        """Compute, by default the month before."""
        address = self.database.address
        if user is not None:
            address = parse_database_address(self.database.url.replace("postgres@", f"{user}:x@"))
        return compute(
            address, settings or settings_of(), as_of, lines_per_invocation=lines_per_invocation, **event
        )


def compute(
    address: DatabaseAddress,
    settings: Settings,
    as_of: str,
    *,
    lines_per_invocation: int | None = None,
    **event: object,
) -> Computed:
    """Compute whatever an event asks for, by default the month before, and keep the values."""
    computed: list[DataValue] = []

    def keep(values: OrgUnitValues, _: int) -> None:
        computed.extend(values.values)

    at = {} if {"months", "interval"} & event.keys() else {"basis": "previous_month", "as_of": as_of}
    asked = {"manual": True, "dry_run": True} | at | event
    parsed = parse_compute_event(asked)
    job = ComputeJob(
        settings=settings,
        calendar=CALENDAR,
        open_database=lambda: open_source(address, calendar=CALENDAR),
        lines_per_invocation=lines_per_invocation,
        watch=keep,
    )
    return Computed(job.run(whole_run(parsed, CALENDAR.parse_instant(as_of))), computed)
