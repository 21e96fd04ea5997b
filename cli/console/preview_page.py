"""The page of the preview: every value that a push would send, beside what DHIS2 holds; what is not sent, and why."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.commands.run import preview_columns
from cli.comparison import Beside, Compared, ComparedValue
from cli.console.jobs import Job, begin
from cli.console.pages import Fields, csv_file, moments_of, render
from cli.console.state import State
from cli.console.words import say
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import EventError
from msupply_dhis2.explain.screen import (
    AS_ADJUSTMENTS,
    BELOW_ZERO,
    CANCELLED,
    DAYS_OUT,
    IN_UTC,
    MONTHS_WITH_CONSUMPTION,
)
from msupply_dhis2.text import count

ROWS_A_PAGE = 100

_OF_CONSUMPTION = (CANCELLED, IN_UTC, MONTHS_WITH_CONSUMPTION)
RULES: Mapping[Metric, tuple[str, ...]] = {
    **dict.fromkeys((Metric.STOCK_ON_HAND, Metric.CLOSING_STOCK, Metric.STOCKED_OUT), (BELOW_ZERO,)),
    Metric.ADJUSTMENTS: (AS_ADJUSTMENTS,),
    Metric.AVERAGE_MONTHLY_CONSUMPTION: _OF_CONSUMPTION,
    # The one divided by the other.
    Metric.MONTHS_OF_STOCK: (BELOW_ZERO, *_OF_CONSUMPTION),
    Metric.DAYS_OUT_OF_STOCK: (DAYS_OUT,),
}
"""By which mSupply's screen, and so its own push, can have another number for each metric."""

_SORTED_BY: Mapping[str, Callable[[ComparedValue], Any]] = {
    "store": lambda line: line.value.store.casefold(),
    "item": lambda line: line.value.item.casefold(),
    "metric": lambda line: line.value.metric.label,
    "period": lambda line: line.value.period,
    "value": lambda line: Decimal(line.value.value or "-Infinity"),
    "held": lambda line: (_number(line.held), line.held or ""),
    "beside": lambda line: tuple(Beside).index(line.beside),
    "org_unit": lambda line: line.value.org_unit,
    "data_element": lambda line: line.value.data_element,
}


def _number(text: str | None) -> Decimal:
    """Return a number to sort by; what is none stands first."""
    try:
        return Decimal(text or "-Infinity")
    except InvalidOperation:
        return Decimal("-Infinity")


@dataclass(frozen=True, slots=True)
class Table:
    """The values that are looked for, and the page of them that is shown; ``asked`` are the words of its address."""

    asked: Mapping[str, str]
    number: int
    pages: int
    found: int
    lines: Sequence[ComparedValue]

    @property
    def found_in_words(self) -> str:
        """How many values are found."""
        return count(self.found, "value")

    def address(self, **changes: object) -> str:
        """Return the address of the table with changes."""
        asked = {**self.asked, "page": self.number, **changes}
        return urlencode({name: value for name, value in asked.items() if value})


@dataclass(frozen=True, slots=True)
class Sum:
    """The values of a metric and a period: how many, what they add up to, and how many stand how to what DHIS2 holds."""

    metric: str
    period: str
    number: int
    total: Decimal | None
    beside: Mapping[Beside, int]


def event_of(form: Fields) -> dict[str, object]:
    """Return the event of a manual push that a form asks for."""
    event: dict[str, object] = {"manual": True}
    event |= {name: form[name].strip() for name in ("basis", "as_of", "months") if form.get(name, "").strip()}
    for name in ("metrics", "stores", "items"):
        if lines := [line.strip() for line in form.get(name, "").splitlines() if line.strip()]:
            event[name] = lines
    return event


def show(state: State, request: Request, _: Fields) -> Response:
    """Show the last preview, or how far it is."""
    return _page(state, request.query_params)


def compute(state: State, _: Request, form: Fields) -> Response:
    """Begin a preview."""
    event = event_of(form)
    try:
        state.insist_on(event)
    except EventError as error:
        return _page(state, {}, form, state.in_words(str(error)))
    if state.preview is None or not state.preview.is_running:
        state.preview = begin_preview(state, event)
    return RedirectResponse("/preview", 303)


def begin_preview(state: State, event: Mapping[str, object]) -> Job[Compared]:
    """Begin to compute what an event asks for, and to set it beside what DHIS2 holds."""
    return begin(say("preview.title"), lambda job: state.preview_beside(event, job), say("error.unexpected"))


def as_csv(state: State, request: Request, _: Fields) -> Response:
    """Hand out all values that are looked for, with their columns as the command has them, and what DHIS2 holds."""
    asked = request.query_params
    lines = _found(_lines(state), asked)
    of_values = preview_columns(has_customers=any(line.value.origin.kind is Kind.CUSTOMER for line in lines))
    rules = ("rule",) if asked.get("own") else ()
    rows = (
        [
            *(told[name] for told in [line.value.by_name()] for name in of_values),
            line.held,
            in_words(line.beside, asked),
            line.stored_by,
            *([" ".join(rules_of(line))] if rules else []),
        ]
        for line in lines
    )
    return csv_file("preview", (*of_values, "in_dhis2", "beside", "stored_by", *rules), rows)


def in_words(beside: Beside, asked: Mapping[str, str]) -> str:
    """Return how a value stands to what DHIS2 holds, for who comes from mSupply's own push in other words."""
    return say("own." + beside) if asked.get("own") else say("beside." + beside)


def rules_of(line: ComparedValue) -> tuple[str, ...]:
    """Return the rules by which mSupply's own push has another number, or keeps one."""
    if line.beside is Beside.VANISHED:
        return (say("own.stays"),)
    if line.beside is Beside.CHANGED:
        return RULES.get(line.value.metric, (say("own.no_rule"),))
    return ()


def _page(state: State, asked: Mapping[str, str], form: Fields | None = None, fault: str = "") -> Response:
    # Asked first: the work may end while the page is made.
    is_running = state.preview is not None and state.preview.is_running
    lines = () if is_running else _lines(state)
    return render(
        state,
        "preview.html",
        status=400 if fault else 200,
        job=state.preview,
        is_running=is_running,
        form=form or {},
        fault=fault,
        metrics=list(Metric),
        sums=sums_of(lines),
        table=_table(lines, asked),
        columns=list(_SORTED_BY),
        besides=list(Beside),
        in_words=in_words,
        moments=moments_of_compared(state, state.preview.result if state.preview else None),
        rules_of=rules_of,
    )


def moments_of_compared(state: State, compared: Compared | None) -> dict[str, str]:
    """Return as of when the values of a preview are to be explained."""
    if compared is None:
        return {}
    return moments_of(compared.event, compared.preview.result.as_of, state.draft().settings)


def _lines(state: State) -> Sequence[ComparedValue]:
    return state.preview.result.lines if state.preview and state.preview.result else ()


def sums_of(lines: Sequence[ComparedValue]) -> list[Sum]:
    """Return for each metric and period how many values there are, and what they add up to where that means something."""
    totals: defaultdict[tuple[Metric, str], Decimal] = defaultdict(Decimal)
    numbers: defaultdict[tuple[Metric, str], Counter[Beside]] = defaultdict(Counter)
    for line in lines:
        key = line.value.metric, line.value.period
        numbers[key][line.beside] += 1
        totals[key] += Decimal(line.value.value or 0)
    order = {metric: place for place, metric in enumerate(Metric)}
    return [
        Sum(
            metric.label,
            period,
            besides.total() - besides[Beside.VANISHED],
            None if metric is Metric.MONTHS_OF_STOCK else totals[metric, period],
            besides,
        )
        for (metric, period), besides in sorted(
            numbers.items(), key=lambda each: (order[each[0][0]], each[0][1])
        )
    ]


def _found(lines: Sequence[ComparedValue], asked: Mapping[str, str]) -> list[ComparedValue]:
    words, metric, sort = asked.get("words", "").casefold(), asked.get("metric", ""), asked.get("sort", "")
    beside = asked.get("beside", "")
    found = [
        line
        for line in lines
        if (not metric or line.value.metric == metric)
        and (not beside or line.beside == beside)
        and (not words or words in _words_of(line.value))
    ]
    name = sort.removeprefix("-")
    if name in _SORTED_BY:
        found.sort(key=_SORTED_BY[name], reverse=sort.startswith("-"))
    return found


def _words_of(value: DataValue) -> str:
    return f"{value.store}\n{value.item}\n{value.org_unit}\n{value.data_element}".casefold()


def _table(lines: Sequence[ComparedValue], asked: Mapping[str, str]) -> Table:
    found = _found(lines, asked)
    pages = max(1, -(-len(found) // ROWS_A_PAGE))
    given = asked.get("page", "")
    number = min(pages, max(1, int(given))) if given.isascii() and given.isdigit() and len(given) < 9 else 1  # noqa: PLR2004 - digits
    shown = found[(number - 1) * ROWS_A_PAGE : number * ROWS_A_PAGE]
    words = {name: asked.get(name, "") for name in ("words", "metric", "beside", "sort", "own")}
    return Table(words, number, pages, len(found), shown)
