"""The page that explains a value: how it is worked out, from what, and the stock over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import Response

from cli.console.blame import blamed
from cli.console.pages import Fields, render
from cli.console.state import State
from cli.console.words import say
from cli.explanation import movement_row
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation, ReportPart

_ASKED = ("store", "customer", "item", "metric", "period", "as_of")
WIDTH, HEIGHT, MARGIN = 640, 180, 8


@dataclass(frozen=True, slots=True)
class Chart:
    """The stock over time as a line of steps in a picture of ``WIDTH`` by ``HEIGHT``, and days and numbers at its edges."""

    first: date
    last: date
    points: str
    zero: float
    least: Decimal
    most: Decimal


def show(state: State, request: Request, _: Fields) -> Response:
    """Explain the value that the address names; without one, ask for it."""
    asked = {name: text.strip() for name, text in request.query_params.items() if text.strip()}
    question = {name: text for name, text in asked.items() if name in _ASKED}
    explanation, fault = None, ""
    if question:
        try:
            explanation = state.explain(question)
        except MsupplyDhis2Error as error:
            fault = blamed(error, state.in_words(str(error)))
    return render(
        state,
        "explain.html",
        status=400 if fault else 200,
        asked=_filled(question),
        fault=fault,
        explanation=explanation,
        movements=[movement_row(each) for each in explanation.movements] if explanation else [],
        reports=[_report(each) for each in explanation.reports] if explanation else [],
        chart=_chart(explanation) if explanation else None,
        width=WIDTH,
        height=HEIGHT,
        metrics=list(Metric),
    )


def _report(part: ReportPart) -> tuple[str, ...]:
    quantities = ", ".join(f"{name} {quantity}" for name, quantity in part.columns.items())
    days = (str(day) if day else "" for day in (part.first_day, part.day))
    return (part.document, *days, part.item, quantities or say("explain.nothing_reported"), part.note or "")


def _filled(question: Mapping[str, str]) -> dict[str, str]:
    return {name: question.get(name, "") for name in _ASKED}


def _chart(of: Explanation) -> Chart | None:
    """Draw the stock after each movement; ``None`` where there are fewer than two."""
    if of.earlier is None or len(of.movements) < 2:  # noqa: PLR2004 - one point is no line
        return None
    times = [movement.instant.timestamp() for movement in of.movements]
    stocks = [Decimal(movement.stock_after) for movement in of.movements]
    before = Decimal(of.earlier.stock_after)
    least, most = min(*stocks, before, Decimal(0)), max(*stocks, before, Decimal(0))
    span, height = (times[-1] - times[0]) or 1.0, float(most - least) or 1.0

    def x(time: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (time - times[0]) / span, 1)

    def y(stock: Decimal) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * float(stock - least) / height, 1)

    points = []
    for time, stock in zip(times, stocks, strict=True):
        points += [(x(time), y(before)), (x(time), y(stock))]
        before = stock
    line = " ".join(f"{left},{top}" for left, top in points)
    first, *_, last = (movement.instant.date() for movement in of.movements)
    return Chart(first, last, line, y(Decimal(0)), least, most)
