"""What customers that are not stores report, read once more: every row of every table, in the plainest way.

It shares nothing with the implementation but the names of the metrics. It reads whole tables into Python, and it looks
at every report for every question.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum, auto
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.periods import Basis
from tests.support.slow_reference import (
    ONE_DAY,
    PERIOD_BEGINS,
    Invoice,
    back_to,
    begins_month,
    counts_at,
    day_of,
    start_of,
)

type Row = Mapping[str, Any]
type Place = tuple[str, str, str]
"""Period, org unit and the item's reference."""

type Supply = tuple[str, str, datetime, Decimal]
"""What stores have issued: to which name, which item, when it counts, how much; what came back is below 0."""

LEVELS_OF_A_COUNT = frozenset({Metric.STOCK_ON_HAND, Metric.STOCKED_OUT})

OPEN_MSUPPLY = {
    "stock": "available_stock_on_hand",
    "consumption": "average_monthly_consumption",
    "initial": "initial_stock_on_hand_units",
    "received": "incoming_units",
    "issued": "outgoing_units",
    "lost": "loss_in_units",
    "added": "addition_in_units",
    "expiring": "expiring_units",
    "days out": "days_out_of_stock",
    "requested": "requested_quantity",
}
MIRROR = {
    "stock": "stock_on_hand",
    "initial": "cust_prev_stock_balance",
    "received": "cust_stock_received",
    "issued": "cust_stock_issued",
    "lost": "stocklosses",
    "added": "stockadditions",
    "adjusted": "cust_loss_adjust",
    "expiring": "stockexpiring",
    "days out": "days_out_or_new_demand",
    "other days out": "dosforamcadjustment",
    "requested": "cust_stock_order",
}


@dataclass(eq=False)
class Report:
    """What one document says of one item: its lines of this item, added up."""

    number: int
    customer: str
    item: str
    is_count: bool
    """An imprest or a stock history."""

    has_program: bool
    period: tuple[date, date] | None
    day: date
    rank: tuple[Any, ...]
    columns: dict[str, Decimal]
    is_untouched: bool
    """Nobody has filled it in: 0 in every column, no comment and no reason."""

    def of(self, column: str) -> Decimal:
        return self.columns.get(column, Decimal(0))

    @property
    def adjusted(self) -> Decimal:
        if self.of("added") or self.of("lost"):
            return self.of("added") - self.of("lost")
        return self.of("adjusted")

    @property
    def opening(self) -> Decimal:
        return self.of("initial") if self.has_program else Decimal(0)

    @property
    def change(self) -> Decimal:
        return self.of("received") - self.of("issued") + self.adjusted

    @property
    def has_moved(self) -> bool:
        return any(self.of(name) for name in ("received", "issued", "added", "lost", "adjusted"))

    @property
    def stock(self) -> Decimal:
        # Whatever a program has to do with the opening stock of the closing stock: here it is a column like any other.
        return self.of("stock") or self.of("initial") + self.change

    @property
    def closing_stock(self) -> Decimal:
        return self.opening + self.change if self.opening or self.has_moved else self.stock

    @property
    def contradicts_itself(self) -> bool:
        is_told_twice = bool(self.of("stock")) and (bool(self.of("initial")) or self.has_moved)
        days = {self.of("days out"), self.of("other days out")} - {Decimal(0)}
        return (is_told_twice and self.of("stock") != self.of("initial") + self.change) or len(days) > 1

    @property
    def days_out(self) -> Decimal:
        return self.of("days out") or self.of("other days out")

    @property
    def has_too_many_days(self) -> bool:
        if self.period is None:
            return False
        first, last = self.period
        return self.days_out > (last - first).days + 1

    def levels(self) -> dict[Metric, Decimal]:
        levels = {Metric.STOCK_ON_HAND: self.stock}
        if self.is_count:
            return levels
        levels[Metric.CLOSING_STOCK] = self.closing_stock
        levels[Metric.EXPIRING] = self.of("expiring")
        average = self.of("consumption")
        if average > 0:
            levels[Metric.AVERAGE_MONTHLY_CONSUMPTION] = average
        return levels


@dataclass
class Facts:
    """A database of either kind, as far as customers go."""

    customers: dict[str, tuple[str, str]]
    """Name and org unit of each customer, by the id of its name."""

    reports: list[Report]
    supplies: list[Supply]
    left_out: list[str]
    """The customers whose org unit a store has, by name."""


@dataclass(frozen=True)
class Question:
    """When and by what rules customers are asked for."""

    basis: Basis
    as_of: datetime
    zone: ZoneInfo
    period_format: str
    supplied: bool


class Why(StrEnum):
    """Why lines are named."""

    UNTOUCHED = auto()
    SUPERSEDED = auto()
    WITHHELD = auto()
    TOO_MANY_DAYS = auto()
    CONTRADICTION = auto()


@dataclass
class Answer:
    """The values, and how many lines of which document (by its number) are to be named, by why."""

    values: dict[Place, dict[Metric, str]] = field(default_factory=dict)
    named: Counter[tuple[Why, int]] = field(default_factory=Counter)
    documents: defaultdict[tuple[Place, Metric], set[int]] = field(default_factory=lambda: defaultdict(set))
    """Of stock on hand and of what was issued: the numbers of the documents that say so."""


# Reading


def rows_of(engine: sa.Engine, table: str) -> list[Row]:
    """Return all rows of a table; none where there is no such table."""
    with engine.connect() as connection:
        if table not in sa.inspect(connection).get_table_names():
            return []
        return [dict(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}").mappings()]  # noqa: S608 - our own names


def rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.000001"), ROUND_HALF_UP)


def quantity(value: object) -> Decimal:
    return rounded(Decimal(str(value))) if value else Decimal(0)


def a_date(value: object) -> date | None:
    text = "" if value is None else str(value)[:10]
    return date.fromisoformat(text) if text > "0000-00-00" else None


def an_instant(value: object) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))


def as_object(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def org_unit_in(*places: object) -> str:
    for place in places:
        there = as_object(place).get("Dhis2Code")
        if isinstance(there, dict):
            there = there.get("data")
        if isinstance(there, str) and there.strip():
            return there.strip()
    return ""


def read_customers(
    names: Iterable[Row], mapped: Mapping[str, str], store_org_units: Iterable[str]
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    taken = set(store_org_units)
    customers: dict[str, tuple[str, str]] = {}
    left_out = []
    for name in names:
        org_unit = mapped[name["id"]]
        if org_unit in taken:
            left_out.append(name["name"])
        elif org_unit:
            customers[name["id"]] = (name["name"], org_unit)
    return customers, left_out


def merged(reports: Iterable[tuple[str, Report]]) -> list[Report]:
    """Add up the lines of an item in a document."""
    whole: dict[tuple[str, str], Report] = {}
    for document, line in reports:
        report = whole.setdefault((document, line.item), line)
        if report is not line:
            for name in line.columns:
                report.columns[name] = report.of(name) + line.of(name)
            report.day = max(report.day, line.day)
            report.is_untouched = report.is_untouched and line.is_untouched
    return list(whole.values())


def names_dhis2(*texts: str | None) -> bool:
    """Whether a document says itself that mSupply has fetched it from there."""
    return any("dhis2" in (text or "").lower() for text in texts)


def read_open_msupply(
    engine: sa.Engine, zone: ZoneInfo, store_org_units: Iterable[str], read_at: datetime
) -> Facts:
    name_of = {row["id"]: row["name_id"] for row in rows_of(engine, "name_link")}
    item_of = {row["id"]: row["item_id"] for row in rows_of(engine, "item_link")}
    with_store = {name_of[row["name_link_id"]] for row in rows_of(engine, "store") if not row["is_disabled"]}
    supplied = {
        name_of[row["name_link_id"]] for row in rows_of(engine, "name_store_join") if row["name_is_customer"]
    }
    names = [
        row
        for row in rows_of(engine, "name")
        if row["type"] in {"FACILITY", "STORE"}
        and row["deleted_datetime"] is None
        and (row["is_customer"] or row["id"] in supplied)
        and row["id"] not in with_store
    ]
    mapped = {
        row["id"]: org_unit_in(row["properties"], row.get("custom_fields"), row["custom_data"])
        for row in names
    }
    customers, left_out = read_customers(names, mapped, store_org_units)

    takes = {
        row["record_id"]: as_object(row["data"]).get("date_stock_take")
        for row in rows_of(engine, "sync_buffer")
        if row["table_name"] == "requisition"
    }
    periods = {
        row["id"]: (a_date(row["start_date"]), a_date(row["end_date"])) for row in rows_of(engine, "period")
    }
    documents = {
        row["id"]: row
        for row in rows_of(engine, "requisition")
        if row["status"] == "FINALISED"
        and not row["is_emergency"]
        and (
            row["type"] in {"IMPREST", "STOCK_HISTORY"}
            or (row["type"] == "RESPONSE" and row["linked_requisition_id"] is None)
        )
        and name_of[row["name_link_id"]] in customers
        and not names_dhis2(row["comment"], row["their_reference"])
    }
    lines = []
    for row in rows_of(engine, "requisition_line"):
        document = documents.get(row["requisition_id"])
        if document is None:
            continue
        columns = {name: quantity(row[column]) for name, column in OPEN_MSUPPLY.items()}
        period = periods.get(document["period_id"])
        counted = an_instant(row["snapshot_datetime"]) or an_instant(document["created_datetime"])
        assert counted is not None
        day = a_date(takes.get(document["id"])) or day_of(counted, zone)
        finalised = an_instant(document["finalised_datetime"])
        report = Report(
            number=document["requisition_number"],
            customer=name_of[document["name_link_id"]],
            item=item_of[row["item_link_id"]],
            is_count=document["type"] != "RESPONSE",
            has_program=period is not None or document["program_id"] is not None,
            period=period,  # type: ignore[arg-type] # both are there
            day=day if period is None or period[1] is None else period[1],
            rank=(finalised is not None, str(finalised or ""), document["requisition_number"]),
            columns=columns,
            is_untouched=not any(columns.values()) and not row["comment"] and not row["option_id"],
        )
        lines.append((document["id"], report))

    return Facts(
        customers,
        merged(lines),
        open_msupply_supplies(engine, zone, read_at, name_of, item_of),
        left_out,
    )


def open_msupply_supplies(
    engine: sa.Engine,
    zone: ZoneInfo,
    read_at: datetime,
    name_of: Mapping[str, str],
    item_of: Mapping[str, str],
) -> list[Supply]:
    invoices = {row["id"]: row for row in rows_of(engine, "invoice")}
    supplies = []
    for row in rows_of(engine, "invoice_line"):
        invoice = invoices[row["invoice_id"]]
        sign = {"STOCK_OUT": 1, "STOCK_IN": -1}.get(row["type"])
        if invoice["type"] not in {"OUTBOUND_SHIPMENT", "CUSTOMER_RETURN"} or sign is None:
            continue
        linked = invoices.get(invoice["linked_invoice_id"]) if invoice["is_cancellation"] else None
        at = counts_at(_invoice(invoice, None if linked is None else _invoice(linked)), read_at, zone)
        if at is not None and row["number_of_packs"] > 0:
            units = quantity(Decimal(str(row["number_of_packs"])) * Decimal(str(row["pack_size"])))
            supplies.append(
                (name_of[invoice["name_link_id"]], item_of[row["item_link_id"]], at, sign * units)
            )
    return supplies


def _invoice(row: Row, cancels: Invoice | None = None) -> Invoice:
    column = "picked_datetime" if row["type"] == "OUTBOUND_SHIPMENT" else "received_datetime"
    return Invoice(an_instant(row[column]), an_instant(row["created_datetime"]), cancels)


def read_mirror(
    engine: sa.Engine, zone: ZoneInfo, store_org_units: Iterable[str], read_at: datetime
) -> Facts:
    with_store = {row["name_id"] for row in rows_of(engine, "store") if not row["disabled"]}
    supplied = {row["name_id"] for row in rows_of(engine, "name_store_join") if row["name_is_customer"]}
    names = [
        row
        for row in rows_of(engine, "name")
        if row["type"] in {"facility", "store"}
        and (row["customer"] or row["id"] in supplied)
        and row["id"] not in with_store
    ]
    mapped = {row["id"]: org_unit_in(row["custom_data"]) for row in names}
    customers, left_out = read_customers(names, mapped, store_org_units)

    periods = {
        row["id"]: (a_date(row["startdate"]), a_date(row["enddate"])) for row in rows_of(engine, "period")
    }
    documents = {
        row["id"]: row
        for row in rows_of(engine, "requisition")
        if row["status"] in {"fn", "wf"}
        and not row["is_emergency"]
        and (
            row["type"] in {"im", "sh", "report"}
            or (row["type"] == "response" and not row["linked_requisition_id"])
        )
        and row["name_id"] in customers
        and not names_dhis2(row["comment"], row["requester_reference"])
    }
    lines = []
    for row in rows_of(engine, "requisition_line"):
        document = documents.get(row["requisition_id"])
        if document is None:
            continue
        columns = {name: quantity(row[column]) for name, column in MIRROR.items()}
        columns["consumption"] = rounded(Decimal(str(row["daily_usage"] or 0)) * 30)
        period = periods.get(document["periodid"])
        counted = a_date(document["date_stock_take"]) or a_date(document["date_entered"])
        day = counted if period is None else period[1]
        if day is None:
            continue
        report = Report(
            number=document["serial_number"],
            customer=document["name_id"],
            item=row["item_id"],
            is_count=document["type"] in {"im", "sh"},
            has_program=bool(document["programid"]),
            period=period,  # type: ignore[arg-type] # both are there
            day=day,
            rank=(document["serial_number"],),
            columns=columns,
            is_untouched=not any(columns.values()) and not row["comment"] and not row["optionid"],
        )
        lines.append((document["id"], report))

    return Facts(customers, merged(lines), mirror_supplies(engine, zone, read_at), left_out)


def mirror_supplies(engine: sa.Engine, zone: ZoneInfo, read_at: datetime) -> list[Supply]:
    transactions = {row["id"]: row for row in rows_of(engine, "transact")}

    def moved(row: Row, day: str, time: str) -> datetime | None:
        begin = a_date(row[day])
        if begin is None:
            return None
        local = datetime(begin.year, begin.month, begin.day, tzinfo=zone) + timedelta(seconds=int(row[time]))
        return local.astimezone(UTC).replace(tzinfo=None)

    def invoice(row: Row, cancels: Invoice | None = None) -> Invoice:
        moved_at, created = (moved(row, f"{of}_date", f"{of}_time") for of in ("confirm", "entry"))
        return Invoice(moved_at, created, cancels)

    supplies = []
    for row in rows_of(engine, "trans_line"):
        transaction = transactions[row["transaction_id"]]
        sign = {"stock_out": 1, "stock_in": -1}.get(row["type"])
        is_shipment = transaction["type"] == "ci" and transaction["mode"] != "dispensary"
        if not (is_shipment or transaction["type"] == "cc") or sign is None:
            continue
        if transaction["status"] not in {"cn", "fn"}:
            continue
        linked = (
            transactions.get(transaction["linked_transaction_id"]) if transaction["is_cancellation"] else None
        )
        at = counts_at(invoice(transaction, None if linked is None else invoice(linked)), read_at, zone)
        if at is not None:
            units = quantity(Decimal(str(row["quantity"])) * Decimal(str(row["pack_size"])))
            supplies.append((transaction["name_id"], row["item_id"], at, sign * units))
    return supplies


# Periods


def label(day: date, period_format: str) -> str:
    if period_format == "Quarterly":
        return f"{day.year}Q{(day.month + 2) // 3}"
    if period_format == "Weekly":
        week = day.isocalendar()
        return f"{week.year}W{week.week}"
    return f"{day:%Y%m}"


@dataclass(frozen=True)
class Span:
    """What a question is about.

    ``first`` and ``last`` are the days whose reports count, ``label_first`` and ``label_last`` those of the DHIS2 period.
    """

    first: date
    last: date
    label_first: date
    label_last: date
    flow_start: datetime
    flow_end: datetime
    label: str


def span_of(question: Question) -> Span:
    begins = PERIOD_BEGINS[question.period_format]
    today = day_of(question.as_of, question.zone)
    if question.basis is Basis.CURRENT_DAY:
        last = today
        first = back_to(last, begins)
        end = question.as_of
    else:
        last = back_to(today, begins_month) - ONE_DAY
        first = min(back_to(last, begins_month), back_to(last, begins))
        end = start_of(last + ONE_DAY, question.zone)
    label_last = last
    while not begins(label_last + ONE_DAY):
        label_last += ONE_DAY
    return Span(
        first,
        last,
        back_to(last, begins),
        label_last,
        start_of(first, question.zone),
        end,
        label(last, question.period_format),
    )


def counts_in(report: Report, span: Span, basis: Basis) -> bool:
    if not span.first <= report.day <= span.last:
        return False
    # The period's last day is not over yet at an instant of it.
    return report.period is None or basis is Basis.PREVIOUS_MONTH or report.day < span.last


def lies_within(report: Report, span: Span) -> bool:
    return (
        report.period is not None
        and span.label_first <= report.period[0]
        and report.period[1] <= span.label_last
    )


def overlap(one: Report, other: Report) -> bool:
    assert one.period is not None
    assert other.period is not None
    return one.period[0] <= other.period[1] and other.period[0] <= one.period[1]


# Values


def values_of_pair(
    reports: Sequence[Report], span: Span, answer: Answer, place: Place
) -> dict[Metric, Decimal]:
    """Return what the reports of a customer about an item come to, and note what is to be named."""
    for report in reports:
        if report.is_untouched:
            answer.named[Why.UNTOUCHED, report.number] += 1
    reports = [report for report in reports if not report.is_untouched]
    if not reports:
        return {}
    last = max(reports, key=lambda report: (report.day, report.rank))
    with_flows = [report for report in reports if report.period is not None and not report.is_count]
    within = [report for report in with_flows if lies_within(report, span)]
    chosen = without_overlaps(within)
    for report in reports:
        if report.contradicts_itself and (report is last or report in chosen):
            answer.named[Why.CONTRADICTION, report.number] += 1
        if report not in chosen and (report is not last or report in with_flows):
            is_replaced = report is not last or report in within
            answer.named[Why.SUPERSEDED if is_replaced else Why.WITHHELD, report.number] += 1
    answer.documents[place, Metric.STOCK_ON_HAND].add(last.number)
    answer.documents[place, Metric.ISSUED].update(report.number for report in chosen)
    return last.levels() | flows_of(chosen, answer)


def without_overlaps(within: Sequence[Report]) -> list[Report]:
    """Return, by their period, the reports that add up: of those that overlap the one finalised last."""
    chosen: list[Report] = []
    for report in sorted(within, key=lambda report: report.rank, reverse=True):
        if not any(overlap(report, other) for other in chosen):
            chosen.append(report)
    return sorted(chosen, key=lambda report: report.period or ())


def flows_of(chosen: Sequence[Report], answer: Answer) -> dict[Metric, Decimal]:
    if not chosen:
        return {}
    values = {
        Metric.RECEIVED: sum((report.of("received") for report in chosen), Decimal(0)),
        Metric.ISSUED: sum((report.of("issued") for report in chosen), Decimal(0)),
        Metric.ADJUSTMENTS: sum((report.adjusted for report in chosen), Decimal(0)),
    }
    if chosen[0].has_program:
        values[Metric.OPENING_STOCK] = chosen[0].of("initial")
    sound = [report for report in chosen if not report.has_too_many_days]
    for report in chosen:
        if report.has_too_many_days:
            answer.named[Why.TOO_MANY_DAYS, report.number] += 1
    if sound:
        values[Metric.DAYS_OUT_OF_STOCK] = sum((report.days_out for report in sound), Decimal(0))
    return values


def slow_answer(facts: Facts, references: Mapping[str, str], question: Question) -> Answer:
    """Return the values of every customer's org unit and every reference (by the item's id)."""
    span = span_of(question)
    answer = Answer()
    pairs: dict[tuple[str, str], list[dict[Metric, Decimal]]] = {}
    for customer, (_, org_unit) in facts.customers.items():
        for item, reference in references.items():
            reports = [
                report
                for report in facts.reports
                if (report.customer, report.item) == (customer, item)
                and counts_in(report, span, question.basis)
            ]
            values = values_of_pair(reports, span, answer, (span.label, org_unit, reference))
            if question.supplied:
                values.pop(Metric.RECEIVED, None)
                supplies = [
                    units
                    for to, what, at, units in facts.supplies
                    if (to, what) == (customer, item) and span.flow_start <= at < span.flow_end
                ]
                if supplies or not all(report.is_untouched for report in reports):
                    values[Metric.RECEIVED] = sum(supplies, Decimal(0))
            if values:
                pairs.setdefault((org_unit, reference), []).append(values)
    for (org_unit, reference), several in pairs.items():
        answer.values[span.label, org_unit, reference] = together(several)
    return answer


def together(several: Sequence[Mapping[Metric, Decimal]]) -> dict[Metric, str]:
    total: dict[Metric, Decimal] = {}
    for metric in Metric:
        there = [values[metric] for values in several if metric in values]
        if there:
            total[metric] = min(there) if metric is Metric.DAYS_OUT_OF_STOCK else sum(there, Decimal(0))
    texts = {metric: as_text(Fraction(value)) for metric, value in total.items()}
    if Metric.STOCK_ON_HAND in total:
        stock = total[Metric.STOCK_ON_HAND]
        texts[Metric.STOCKED_OUT] = "1" if stock <= 0 else "0"
        if Metric.AVERAGE_MONTHLY_CONSUMPTION in total:
            average = total[Metric.AVERAGE_MONTHLY_CONSUMPTION]
            texts[Metric.MONTHS_OF_STOCK] = as_text(Fraction(stock) / Fraction(average))
    return texts


def as_text(value: Fraction) -> str:
    """Write a number with at most six decimals, halves away from zero."""
    millionths = int(abs(value) * 1_000_000 + Fraction(1, 2))
    whole, rest = divmod(millionths, 1_000_000)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and millionths else text
