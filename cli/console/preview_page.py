"""The page of the preview: every value that a push would send, what is not sent, and why."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.commands.run import preview_columns
from cli.console.jobs import Job, begin
from cli.console.pages import Fields, csv_file, render
from cli.console.state import State
from cli.console.words import say
from cli.local import Preview
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import EventError
from msupply_dhis2.text import count

ROWS_A_PAGE = 100

_SORTED_BY: Mapping[str, Callable[[DataValue], Any]] = {
    "store": lambda value: value.store.casefold(),
    "item": lambda value: value.item.casefold(),
    "metric": lambda value: value.metric.label,
    "period": lambda value: value.period,
    "value": lambda value: Decimal(value.value),
    "org_unit": lambda value: value.org_unit,
    "data_element": lambda value: value.data_element,
}


@dataclass(frozen=True, slots=True)
class Table:
    """The values that are looked for, and the page of them that is shown; ``find`` is the rest of its address."""

    words: str
    metric: str
    sort: str
    number: int
    pages: int
    found: int
    values: Sequence[DataValue]

    @property
    def found_in_words(self) -> str:
        """How many values are found."""
        return count(self.found, "value")

    def address(self, **changes: object) -> str:
        """Return the address of the table with changes."""
        asked = {
            "words": self.words,
            "metric": self.metric,
            "sort": self.sort,
            "page": self.number,
            **changes,
        }
        return urlencode({name: value for name, value in asked.items() if value})


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


def begin_preview(state: State, event: Mapping[str, object]) -> Job[Preview]:
    """Begin to compute what an event asks for."""
    return begin(say("preview.title"), lambda job: state.compute(event, job), say("error.unexpected"))


def as_csv(state: State, request: Request, _: Fields) -> Response:
    """Hand out all values that are looked for, with their columns as the command has them."""
    values = _found(_values(state), request.query_params)
    columns = preview_columns(has_customers=any(value.kind is Kind.CUSTOMER for value in values))
    return csv_file("preview", columns, ([getattr(value, name) for name in columns] for value in values))


def _page(state: State, asked: Mapping[str, str], form: Fields | None = None, fault: str = "") -> Response:
    # Asked first: the work may end while the page is made.
    is_running = state.preview is not None and state.preview.is_running
    values = () if is_running else _values(state)
    return render(
        state,
        "preview.html",
        status=400 if fault else 200,
        job=state.preview,
        is_running=is_running,
        form=form or {},
        fault=fault,
        metrics=list(Metric),
        sums=_sums(values),
        table=_table(values, asked),
        columns=list(_SORTED_BY),
    )


def _values(state: State) -> Sequence[DataValue]:
    return state.preview.result.values if state.preview and state.preview.result else ()


def _sums(values: Sequence[DataValue]) -> list[tuple[str, str, int, Decimal | None]]:
    """Return for each metric and period how many values there are, and what they add up to where that means something."""
    numbers = Counter((value.metric, value.period) for value in values)
    totals: dict[tuple[Metric, str], Decimal] = dict.fromkeys(numbers, Decimal(0))
    for value in values:
        totals[value.metric, value.period] += Decimal(value.value)
    return [
        (metric.label, period, number, None if metric is Metric.MONTHS_OF_STOCK else totals[metric, period])
        for (metric, period), number in sorted(
            numbers.items(), key=lambda each: (list(Metric).index(each[0][0]), each[0][1])
        )
    ]


def _found(values: Sequence[DataValue], asked: Mapping[str, str]) -> list[DataValue]:
    words, metric, sort = asked.get("words", "").casefold(), asked.get("metric", ""), asked.get("sort", "")
    found = [
        value
        for value in values
        if (not metric or value.metric.value == metric)
        and (
            not words
            or words in f"{value.store}\n{value.item}\n{value.org_unit}\n{value.data_element}".casefold()
        )
    ]
    name = sort.removeprefix("-")
    if name in _SORTED_BY:
        found.sort(key=_SORTED_BY[name], reverse=sort.startswith("-"))
    return found


def _table(values: Sequence[DataValue], asked: Mapping[str, str]) -> Table:
    found = _found(values, asked)
    pages = max(1, -(-len(found) // ROWS_A_PAGE))
    given = asked.get("page", "")
    number = min(pages, max(1, int(given))) if given.isascii() and given.isdigit() and len(given) < 9 else 1  # noqa: PLR2004 - digits
    shown = found[(number - 1) * ROWS_A_PAGE : number * ROWS_A_PAGE]
    return Table(
        asked.get("words", ""),
        asked.get("metric", ""),
        asked.get("sort", ""),
        number,
        pages,
        len(found),
        shown,
    )
