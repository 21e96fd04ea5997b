"""Explain a value: the same reading, calculation and mapping as compute's, asked for their parts.

The way of the job: which row of the settings and which instant the question is about → the org unit and the items that
are one number → their histories, as compute reads and works them out → the formula, the stock lines, the movements.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Self

from pydantic import model_validator

from msupply_dhis2.compute.event import ComputeEvent, parse_as_of, require_known
from msupply_dhis2.compute.plan import RunPlan, make_run_plan, names_of, read_mapped
from msupply_dhis2.compute.values import Tally, groups_of, rows_that_count, values_of_org_units
from msupply_dhis2.domain.data_value import Identifier
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.reading import Event, Words, folded, parse_event, require_period
from msupply_dhis2.domain.report import GroupReports
from msupply_dhis2.domain.stock import GroupHistory, ItemGroup, Kind, NamedMovement, OrgUnit
from msupply_dhis2.errors import EventError
from msupply_dhis2.explain.explanation import EarlierMovements, Explanation, MovementPart, StockLinePart
from msupply_dhis2.explain.formula import formula, local, shown_instant, units
from msupply_dhis2.explain.reports import report_formula, report_parts
from msupply_dhis2.explain.screen import beside_screen
from msupply_dhis2.mapping import Mapper, identifier_of
from msupply_dhis2.metrics.calculate import Group, floor
from msupply_dhis2.metrics.ledger import stock_of_lines
from msupply_dhis2.metrics.reports import report_values, sentences
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.settings import DataElementRow, Settings, Setup
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.queries import Scope
from msupply_dhis2.text import joined, shown_day

MOST_MOVEMENTS = 500
"""How many movements are listed; those before them are summed up."""

_ONE_DAY = timedelta(days=1)
"""mSupply's own screen goes by the days of UTC, which begin up to so much earlier."""

_NOTHING_KNOWN = {
    Kind.STORE: "the item is on no master list of the store, and never had a stock line or a movement there",
    Kind.CUSTOMER: "no document of the customer about this period has the item",
}


class Question(Event):
    """Which value is asked about: store or customer, and item, by code, name, id, org unit or reference, as for a manual push.

    Without a period, written as DHIS2 does, it is the one that the row of the settings is about now. ``as_of`` is the instant
    of the run that is meant, in the stack's time zone; without it the end of the period, or now where it is not over.
    """

    store: Words | None = None
    customer: Words | None = None
    item: Words
    metric: Metric
    period: Words | None = None
    as_of: Words | None = None

    @model_validator(mode="after")
    def _name_one(self) -> Self:
        if (self.store is None) is (self.customer is None):
            raise ValueError("Name either a store or a customer")
        return self

    @property
    def place(self) -> str:
        """The name of the store or customer."""
        return str(self.store or self.customer)


class ExplainEvent(Event):
    """The event that asks compute."""

    explain: Question


EXAMPLE = '{"explain": {"store": "Kamo", "item": "Amoxicillin 250mg", "metric": "stock_on_hand", "period": "202601"}}'


def parse_question(event: object) -> Question:
    """Read the event that asks compute; an EventError says what is wrong with it."""
    return parse_event(ExplainEvent, event, EXAMPLE).explain


def explain(
    question: Question, *, settings: Settings, calendar: Calendar, source: Source, now: datetime
) -> Explanation:
    """Explain a value; where there is none, why.

    An ``EventError`` says that the question cannot be understood, or could mean several values; a ``SourceError`` that
    mSupply's database cannot be read, or holds no store or item that is sent.
    """
    rows = [row for row in settings.active_rows if row.metric is question.metric]
    if not rows:
        why = f"no active row of 'Data elements to push' has the metric {question.metric}"
        return _told(question, f"{why}. Add it, or set active: true.")
    row, basis, as_of = _row_at(question, rows, settings, calendar, now)
    mapper = Mapper.at(as_of, calendar, settings, ((row, basis),))
    event = ComputeEvent(
        manual=True, stores=(question.place,), items=(question.item,), metrics=(question.metric,)
    )
    try:
        plan = make_run_plan(event, settings, read_mapped(source, settings, [row]))
    except EventError as error:
        return _told(question, str(error), mapper.windows[basis])
    return _explained(question, row, mapper.windows[basis], mapper, plan, source)


def _row_at(
    question: Question, rows: Sequence[DataElementRow], settings: Settings, calendar: Calendar, now: datetime
) -> tuple[DataElementRow, Basis, datetime]:
    """Find the row, basis and instant whose value the question is about."""
    instants = [now]
    if question.as_of is not None:
        instants = [parse_as_of(question.as_of, calendar, "explain.as_of")]
        require_known(instants[0], now)
    elif question.period is not None:
        period = require_period(question.period, "explain.period")
        ended = calendar.start_of_day(period.day_after).replace(tzinfo=UTC)
        # The last instant within it, for the rows on a current day basis.
        instants += [each for each in (ended, ended - timedelta(seconds=1)) if each <= now]
    found = set()
    for row in rows:
        for basis in sorted(Basis, key=lambda each: each is not row.basis):
            for as_of in instants:
                label = window(basis, as_of, calendar, settings.period).period
                if question.period in {None, label}:
                    return row, basis, as_of
                found.add(label)
    raise EventError(
        f"explain.period: no value of {question.metric.label} is about {question.period}. Its values are about "
        f"{joined(sorted(found))}. Name one of these periods, or another time (as_of)."
    )


def _told(question: Question, why: str, at: Window | None = None, **known: Any) -> Explanation:  # noqa: ANN401 - the fields
    """Return an explanation that begins with the value, or why there is none; ``known`` are its other fields."""
    items, places = known.get("items", (question.item,)), known.get("stores", (question.place,))
    if at is not None:
        known |= {"basis": at.basis, "as_of": local(at.as_of, at), "period": at.period}
    what = f"{question.metric.label} of {'; '.join(items)} in {'; '.join(places)}"
    period = at.period if at else question.period or "now"
    answer = f"{known['value']}." if "value" in known else f"there is no value: {why}"
    return Explanation(message=f"{what}, {period}: {answer}", metric=question.metric, **known)


def _explained(
    question: Question, row: DataElementRow, at: Window, mapper: Mapper, plan: RunPlan, source: Source
) -> Explanation:
    """Explain the value of the org unit and the item group that a question is about."""
    org_unit, item_group = _asked(plan, question)
    identifier = identifier_of(mapper.settings, row, item_group)
    known: dict[str, Any] = {
        "org_unit": org_unit.code,
        "stores": tuple(f"{store.name} ({store.code})" for store in org_unit.stores),
        "items": tuple(f"{item.name} ({item.code})" for item in item_group.items),
        "mapping": tuple(_mapping(mapper.settings, row, at, org_unit, identifier)),
    }
    catalogue = plan.mapped.catalogue
    if question.metric in catalogue.missing_metrics:
        lacking = " ".join(each for each in catalogue.warnings if question.metric.label in each)
        return _told(question, f"mSupply's database lacks what this metric needs. {lacking}", at, **known)
    named: list[NamedMovement] = []
    tally, groups = Tally(), list[GroupHistory | GroupReports]()
    if plan.scope.stores:
        earliest = floor([at], plan.scope.stores, plan.rules) - _ONE_DAY
        groups += source.histories(plan.scope, earliest, named)
    else:
        groups += groups_of(source, plan, mapper)
    values = [each for of in values_of_org_units(groups, plan, mapper, tally) for each in of.values]
    known["left_out"] = source.warnings()
    group = next((each for each in groups if each.item_group is item_group), None)
    if group is None:
        return _told(question, f"{_NOTHING_KNOWN[org_unit.kind]}.", at, **known)
    if rows := rows_that_count(group, at.snapshot):
        return _told(question, " ".join(rows), at, **known)
    if isinstance(group, GroupReports):
        worked_out, exact = report_formula(group, question.metric, at)
        known["left_out"] += tuple(sentences(report_values(group, at, {question.metric}).not_sent))
        known["reports"] = tuple(report_parts(group))
    else:
        of_stores = Group(group.pairs, at, plan.rules, Counter())
        worked_out, exact = formula(of_stores, question.metric, at), of_stores.value(question.metric)
        batches = source.batches(Scope((org_unit,), (item_group,)))
        known |= _parts(of_stores, named, batches, at, source.began)
        known["beside_screen"] = tuple(beside_screen(of_stores, question.metric, at))
    known |= worked_out._asdict() | {"exact": None if exact is None else units(exact)}
    if value := next((each for each in values if each.identifier == identifier), None):
        known |= {"value": value.value, "data_value": value.by_name()}
    why = f"{worked_out.formula}."
    if identifier is None:
        why = f"the item has no value in its field {row.custom_field_name} that can be sent."
    elif collided := [each for each in tally.collisions if each.identifier == identifier]:
        why = collided[0].sentence(1)
    return _told(question, why, at, **known)


def _asked(plan: RunPlan, question: Question) -> tuple[OrgUnit, ItemGroup]:
    """Return the only org unit and the only item group that a question can mean."""
    org_units = plan.org_units
    groups = [
        group for group in plan.scope.item_groups if folded(question.item) in map(folded, names_of(group))
    ]
    stores = [store for org_unit in org_units for store in org_unit.stores]
    items = [item for group in groups for item in group.items]
    for field, asked, meant, named in (
        ("store" if question.store else "customer", question.place, org_units, stores),
        ("item", question.item, groups, items),
    ):
        if len(meant) > 1:
            codes = joined(f"{each.name} ({each.code})" for each in named)
            raise EventError(f"explain.{field}: '{asked}' could be {codes}. Write the code.")
    return org_units[0], groups[0]


def _mapping(
    settings: Settings, row: DataElementRow, at: Window, org_unit: OrgUnit, identifier: Identifier | None
) -> Iterator[str]:
    """Yield what the value is known by in DHIS2, and the settings that decide it, a sentence each."""
    if identifier is not None:
        is_per_item = settings.setup is Setup.DATA_ELEMENT_PER_ITEM
        field = row.custom_field_name if is_per_item else settings.item_field_reference
        prefix = f"Prefix '{row.prefix}' and " if row.prefix else ""
        yield f"Data element {identifier[0]} ({settings.data_element_id_scheme}): {prefix}the item's field {field}."
        for name, option_combo in zip(("Category", "Attribute"), identifier[1:], strict=True):
            if option_combo is not None:
                yield f"{name} option combo {option_combo} ({row.category_option_combo_id_scheme}): Category option ID of the row."
    is_store = org_unit.kind is Kind.STORE
    its_field = settings.store_field_reference if is_store else settings.customer_field
    yield f"Org unit {org_unit.code} ({settings.org_unit_scheme}): the {org_unit.kind}'s field {its_field}."
    yield (
        f"Period {at.period}: the one that holds {shown_day(at.snapshot_date)}, by Period format {settings.period_format} "
        f"and Push data basis {at.basis}."
    )
    if settings.round_off:
        yield "Round off is on: the value is rounded to a whole number, halves away from zero."


def _parts(
    group: Group, named: Sequence[NamedMovement], batches: Mapping[str, str], at: Window, began: datetime
) -> dict[str, object]:
    """Return the stock lines and the movements of a group, and what was before them."""
    stock_lines = tuple(
        StockLinePart(
            store=pair.store.name,
            item=pair.item.name,
            batch=batches.get(line.id),
            expiry_date=line.expiry_date,
            units_now=units(line.units),
            units_at_snapshot=units(held),
        )
        for pair, line, held in stock_of_lines(group.pairs, at.snapshot, Counter())
    )
    pairs = {(pair.store.id, pair.item.id) for pair in group.pairs}
    of_group = [each for each in named if (each.store.id, each.item.id) in pairs]
    of_group.sort(key=lambda each: each.movement.instant)
    listed = of_group[-MOST_MOVEMENTS:]
    stock = group.ledger.stock_now - sum(each.movement.units for each in listed)
    before = sum(pair.units_before_floor for pair in group.pairs)
    before += sum(each.movement.units for each in of_group[: len(of_group) - len(listed)])
    earlier = EarlierMovements(units=units(before), stock_after=units(stock))
    after = accumulate((each.movement.units for each in listed), initial=stock)
    movements = tuple(
        MovementPart(
            instant=local(each.movement.instant, at),
            store=each.store.name,
            item=each.item.name,
            kind=each.movement.kind.value.replace("_", " "),
            number=each.number,
            batch=batches.get(each.movement.stock_line_id or ""),
            units=units(each.movement.units),
            stock_after=units(stock_after),
            note=_note(each, at, began),
        )
        for each, stock_after in zip(listed, [*after][1:], strict=True)
    )
    return {"stock_lines": stock_lines, "movements": movements, "earlier": earlier}


def _note(named: NamedMovement, at: Window, began: datetime) -> str | None:
    """Say why a movement does not count at its own instant."""
    if named.own_instant is None or named.own_instant == named.movement.instant:
        return None
    why = (
        "later than the database was read; it counts when it was made"
        if named.own_instant > began
        else "but it cancels another, and counts when that one does"
    )
    return f"Its invoice says {shown_instant(named.own_instant, at)}, {why}."
