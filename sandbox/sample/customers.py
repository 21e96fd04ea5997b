"""Customers that are no stores, and what their supplier types in for them: a year of forms, and everything unusual."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sandbox.sample import tables
from sandbox.sample.clinics import Clinic
from sandbox.sample.edge_cases import UnusualItem
from sandbox.sample.medicines import Medicine
from sandbox.sample.writer import Row, Writer

PROGRAM = "ESSENTIAL"
MONTHS = 12

# Shares of the lines of a form: those that nobody has filled in, and those with losses and with days out of stock.
_UNTOUCHED = 0.1
_LOST = 0.05
_AT_MOST_OUT = 12

_COLUMNS = (
    *("requested", "suggested", "supply", "approved", "stock", "consumption"),
    *("initial", "received", "issued", "lost", "added", "expiring", "days_out"),
)
"""The quantities of a line, in the order of the columns of the table."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A name that a store supplies; ``links`` are the ids that lead to it, its own and those merged into it."""

    id: str
    code: str
    name: str
    org_unit: str | None = None
    kind: str = "FACILITY"
    is_customer: bool = True
    deleted: str | None = None
    merged: tuple[str, ...] = ()

    def name_row(self) -> Row:
        """Return the row of ``name``."""
        fields = None if self.org_unit is None else json.dumps({"Dhis2Code": {"data": self.org_unit}})
        about = (self.id, self.name, self.code, self.kind, self.is_customer, False)
        return (*about, None, fields, None, self.deleted)

    def links(self) -> Iterator[Row]:
        """Yield the rows of ``name_link``."""
        for link in (self.id, *self.merged):
            yield (link, self.id)


@dataclass(frozen=True, slots=True)
class Months:
    """The months that forms are about: the last ``MONTHS`` that ended by the day of ``as_of``."""

    as_of: date

    def all(self) -> list[tuple[date, date]]:
        """Return the first and the last day of each, the oldest first."""
        after = (self.as_of + timedelta(1)).replace(day=1)
        months = []
        for _ in range(MONTHS):
            last = after - timedelta(1)
            after = last.replace(day=1)
            months.append((after, last))
        return months[::-1]

    def last_quarter(self) -> tuple[date, date]:
        """Return the first and the last day of the last quarter that ended."""
        months = self.all()
        end = max(index for index, (_, last) in enumerate(months) if last.month % 3 == 0)
        return months[end - 2][0], months[end][1]

    def instant(self, day: date, time: str = "09:00:00") -> str:
        """Return an instant of a day, or of the last day, where it is later."""
        return f"{min(day, self.as_of)} {time}"


@dataclass(slots=True)
class Forms:
    """The documents that one store types in for its customers, with their lines."""

    store_id: str
    choose: random.Random
    months: Months
    number: int = 0
    periods: dict[tuple[date, date], str] = field(default_factory=dict)
    documents: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    stock_takes: list[Row] = field(default_factory=list)

    def document(  # noqa: PLR0913 - the columns of a table
        self,
        link: str,
        period: tuple[date, date] | None,
        *,
        kind: str = "RESPONSE",
        status: str = "FINALISED",
        created: date | None = None,
        finalised: date | None = None,
        linked: str | None = None,
        is_emergency: bool = False,
        program: str | None = PROGRAM,
        stock_take: date | None = None,
        reference: str | None = None,
    ) -> str:
        """Add a document, by default one of a program that was typed in five days after its period; return its id."""
        self.number += 1
        document_id = self._id()
        day = period[1] if period else self.months.all()[-1][0] + timedelta(14)
        created = created or day
        finalised = finalised or day + timedelta(5)
        period_id = None if period is None else self.periods.setdefault(period, f"{period[0]}..{period[1]}")
        self.documents.append(
            (
                *(document_id, self.number, self.store_id, link, kind, status),
                *(self.months.instant(created), self.months.instant(finalised, "15:30:00")),
                *(linked, is_emergency, program, period_id, None, reference),
            )
        )
        if stock_take is not None:
            data = json.dumps({"ID": document_id, "date_stock_take": stock_take.isoformat()})
            received = self.months.instant(finalised)
            self.stock_takes.append((document_id, received, received, None, "requisition", "UPSERT", data))
        return document_id

    def line(
        self,
        document_id: str,
        item_id: str,
        *,
        counted: date | None = None,
        comment: str | None = None,
        reason: str | None = None,
        **columns: float,
    ) -> None:
        """Add a line; what is not given is 0."""
        snapshot = None if counted is None else self.months.instant(counted, "06:00:00")
        quantities = [columns.pop(name, 0) for name in _COLUMNS]
        if columns:
            raise TypeError(f"There is no column {', '.join(columns)}.")
        self.lines.append(
            (self._id(), document_id, item_id, "", snapshot, comment, reason, *quantities),
        )

    def write(self, writer: Writer) -> None:
        """Write what there is, and forget it."""
        writer.write(tables.SYNC_BUFFER, self.stock_takes)
        writer.write(tables.REQUISITION, self.documents)
        writer.write(tables.REQUISITION_LINE, self.lines)
        for rows in (self.stock_takes, self.documents, self.lines):
            rows.clear()

    def write_periods(self, writer: Writer) -> None:
        """Write the periods of all documents that there were."""
        rows = [
            (period_id, "MONTHS", period_id, first.isoformat(), last.isoformat())
            for (first, last), period_id in sorted(self.periods.items())
        ]
        writer.write(tables.PERIOD, rows)

    def _id(self) -> str:
        return f"{self.choose.getrandbits(128):032x}"


def post(number: int, customer_id: str, *, is_mapped: bool) -> Customer:
    """Return an ordinary customer."""
    name = f"Outreach post {number}"
    return Customer(customer_id, f"OP{number:02d}", name, f"OU_OUTREACH_POST_{number}" if is_mapped else None)


def report_a_year(forms: Forms, customer: Customer, medicines: Sequence[Medicine]) -> None:
    """Add a form for each month, with a line for each medicine, whose numbers follow from the month before."""
    choose = forms.choose.random
    stock = [round(200 * choose()) for _ in medicines]
    for period in forms.months.all():
        late = 40 if choose() < _LOST else 2 + int(10 * choose())
        document_id = forms.document(customer.id, period, finalised=period[1] + timedelta(late))
        for place, medicine in enumerate(medicines):
            if choose() < _UNTOUCHED:
                forms.line(document_id, medicine.id)
                continue
            initial, received = stock[place], round(120 * choose())
            lost = round(10 * choose()) if choose() < _LOST else 0
            issued = min(initial + received - lost, round(130 * choose()))
            left = stock[place] = initial + received - lost - issued
            forms.line(
                document_id,
                medicine.id,
                requested=max(0, 180 - left),
                stock=left,
                consumption=60,
                initial=initial,
                received=received,
                issued=issued,
                lost=lost,
                expiring=left // 10,
                days_out=0 if left else 1 + int(_AT_MOST_OUT * choose()),
            )


@dataclass(frozen=True, slots=True)
class UnusualCustomers:
    """One customer for each way in which a customer, or what it reports, can be out of the ordinary."""

    customers: tuple[Customer, ...]

    @classmethod
    def of(cls, store: Clinic, seed: int) -> "UnusualCustomers":
        """Return them; one has the org unit of the store."""
        choose = random.Random(f"unusual customers {seed}")  # noqa: S311 - sample data, which a seed must repeat

        def customer(name: str, org_unit: str | None, **others: object) -> Customer:
            identifier = f"{choose.getrandbits(128):032X}"
            code = f"CU{choose.randrange(1000, 10000)}"
            return Customer(identifier, code, f"{name} post", org_unit, **others)  # type: ignore[arg-type] # its fields

        return cls(
            (
                customer("Quarterly", "OU_QUARTERLY_POST"),
                customer("Two programmes", "OU_TWO_PROGRAMMES_POST"),
                customer("Late", "OU_LATE_POST"),
                # Two customers with one org unit, of which one was merged with a third.
                customer("Twin one", "OU_TWIN_POST", merged=(f"{choose.getrandbits(128):032X}",)),
                customer("Twin two", "OU_TWIN_POST"),
                customer("Store's", store.org_unit),
                customer("Unmapped", None),
                customer("Deleted", "OU_DELETED_POST", deleted="2025-01-01 00:00:00"),
                customer("Patient", "OU_PATIENT", kind="PATIENT"),
                # Only one store says that it is a customer.
                customer("One store's", "OU_ONE_STORES_POST", is_customer=False),
                customer("Counting", "OU_COUNTING_POST"),
                customer("Doubtful", "OU_DOUBTFUL_POST"),
                customer("Not yet", "OU_NOT_YET_POST"),
            )
        )

    def by_name(self, name: str) -> Customer:
        """Return one of them."""
        return next(each for each in self.customers if each.name == f"{name} post")

    def report(self, forms: Forms, medicines: Sequence[Medicine], unusual: Sequence[UnusualItem]) -> None:
        """Add what they report about the last month, and about the quarter."""
        item, other, third = (medicine.id for medicine in ([*medicines] * 3)[:3])
        month = forms.months.all()[-1]
        for customer in self.customers:
            document_id = forms.document(customer.id, month)
            forms.line(document_id, item, stock=40, consumption=20, initial=50, received=30, issued=40)
            # A list is made with all items; nobody has filled this one in.
            forms.line(document_id, other)
        self._report_periods(forms, item, other)
        self._report_counts(forms, item)
        self._report_not_yet(forms, item)
        # What was merged: the lines of two items, the documents of two names.
        merged = next(each for each in unusual if len(each.links) > 1)
        twin = self.by_name("Twin one")
        document_id = forms.document(twin.merged[0], month)
        for units, link in enumerate(merged.links, 7):
            forms.line(document_id, link, stock=units, consumption=1.5, days_out=units)
        # Zero that somebody has meant, and columns that are doubtful.
        document_id = forms.document(self.by_name("Doubtful").id, month)
        forms.line(document_id, item, comment="none left")
        forms.line(document_id, other, reason="STOCKED_OUT", stock=12, initial=10, received=1, days_out=45)
        forms.line(document_id, third, initial=20, received=5, issued=30.5, lost=2, added=4, consumption=-1)

    def _report_periods(self, forms: Forms, item: str, other: str) -> None:
        month, quarter = forms.months.all()[-1], forms.months.last_quarter()
        quarterly = self.by_name("Quarterly").id
        forms.line(
            forms.document(quarterly, quarter),
            item,
            stock=9,
            initial=90,
            received=60,
            issued=141,
            days_out=35,
        )
        # Across two months: of the item about which the month's own form says nothing.
        across = (month[0] - timedelta(10), month[0] + timedelta(9))
        forms.line(forms.document(quarterly, across), other, stock=8, received=3, issued=3)
        programmes = self.by_name("Two programmes").id
        another = forms.document(programmes, month, program="MALARIA", finalised=month[1] + timedelta(6))
        forms.line(another, item, stock=11, initial=12, issued=1)
        # The one that was typed in first is finalised last.
        late = self.by_name("Late").id
        first = forms.document(late, month, finalised=month[1] + timedelta(20))
        second = forms.document(late, month, finalised=month[1] + timedelta(1))
        forms.line(first, item, stock=21, initial=20, received=1)
        forms.line(second, item, stock=22, initial=20, received=2)

    def _report_counts(self, forms: Forms, item: str) -> None:
        first, last = forms.months.all()[-1]
        counting = self.by_name("Counting").id
        forms.line(forms.document(counting, None, kind="IMPREST", program=None), item, stock=31)
        taken = forms.document(counting, None, kind="STOCK_HISTORY", program=None, stock_take=last)
        forms.line(taken, item, stock=32)
        levels = forms.document(self.by_name("Twin two").id, None, program=None, created=last)
        forms.line(levels, item, counted=first + timedelta(20), stock=33, initial=33, received=5)
        # A programme's, but without a period.
        forms.line(
            forms.document(self.by_name("One store's").id, None), item, stock=34, initial=30, received=4
        )

    def _report_not_yet(self, forms: Forms, item: str) -> None:
        """Add documents that do not count."""
        month = forms.months.all()[-1]
        customer = self.by_name("Not yet").id
        for document_id in (
            forms.document(customer, month, status="DRAFT"),
            forms.document(customer, month, is_emergency=True),
            forms.document(customer, month, linked="the order of a store"),
            forms.document(customer, month, kind="REQUEST"),
            forms.document(customer, month, reference="DHIS2 LMIS"),
        ):
            forms.line(document_id, item, stock=99, initial=99)


def joins(customers: UnusualCustomers, store: Clinic) -> list[Row]:
    """Return the rows of ``name_store_join``."""
    customer = customers.by_name("One store's")
    return [(f"join-{customer.id}", customer.id, store.id, True, False)]
