"""What every page shares: its template, its form, and the sentence where something fails."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cli.console.blame import blamed
from cli.console.state import State
from cli.console.today import link_of
from cli.console.words import plain, say
from msupply_dhis2.compute.event import ComputeEvent, rows_asked_for
from msupply_dhis2.domain.data_value import JOINED_BY, DataValue
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import ConfigurationError, MsupplyDhis2Error
from msupply_dhis2.periods import Basis
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.rejected_rows import safe

FOLDER = Path(__file__).parent

type Fields = Mapping[str, str]
"""A submitted form."""

type Work[S: State] = Callable[[S, Request, Fields], Response]
"""What a page does."""


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["t"] = say
    environment.filters["number"] = "{:,}".format
    environment.filters["quantity"] = _quantity
    environment.filters["time"] = lambda instant, zone: written_in(instant, ZoneInfo(zone))
    environment.filters["seconds"] = lambda instant, zone: f"{instant.astimezone(ZoneInfo(zone)):%H:%M:%S}"
    environment.filters["plain"] = plain
    environment.filters["run_link"] = link_of
    environment.filters["names_one"] = _names_one
    environment.filters["explain_link"] = explain_link
    environment.filters["rows"] = lambda parts, names: [
        [_cell(getattr(part, name)) for name in names] for part in parts
    ]
    return environment


def _quantity(text: str | Decimal) -> str:
    """Return a number with separators; what DHIS2 holds may be another text."""
    try:
        return f"{Decimal(text):,}"
    except InvalidOperation:
        return str(text)


def _names_one(asked: Mapping[str, str]) -> dict[str, str]:
    """Return what asks about one value: of several stores or items, the first names the same number."""
    return {name: text.partition(JOINED_BY)[0] for name, text in asked.items()}


def explain_link(value: DataValue | Mapping[str, str], moments: Mapping[str, str]) -> str:
    """Return the address of the page that explains a value, as of the instant of its metric, where there is one."""
    parts = value.by_name() if isinstance(value, DataValue) else value
    place = "customer" if parts.get("kind") == Kind.CUSTOMER else "store"
    metric = str(parts["metric"])
    asked = {place: parts["store"], **{name: parts[name] for name in ("item", "metric", "period")}}
    named = _names_one({name: str(text) for name, text in asked.items()})
    moment = {"as_of": moments[metric]} if metric in moments else {}
    return f"/explain?{urlencode({**named, **moment})}"


def moments_of(event: ComputeEvent | None, as_of: datetime | None, settings: Settings) -> dict[str, str]:
    """Return as of when the values of each metric are to be explained, by its name and its label.

    On the basis *previous month* a value is that of its period; on the current day it is that of the instant of the run.
    """
    if event is None or event.months is not None or as_of is None:
        return {}
    of_now = {row.metric for row, basis in rows_asked_for(event, settings) if basis is Basis.CURRENT_DAY}
    return {name: as_of.isoformat() for metric in of_now for name in (metric.value, metric.label)}


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def render(
    state: State,
    template: str,
    *,
    status: int = 200,
    **values: Any,  # noqa: ANN401 - whatever a template shows
) -> HTMLResponse:
    """Return a page."""
    # What a button says that does more than look.
    off = "disabled aria-describedby=may-not" if state.may_not else ""
    text = _templates().get_template(template).render(state=state, head=state.head(), off=off, **values)
    return HTMLResponse(text, status)


def page[S: State](state: S, work: Work[S]) -> Callable[[Request], Any]:
    """Return an endpoint whose work is handed the form; what fails for a known reason is told on a page."""

    async def endpoint(request: Request) -> Response:
        try:
            form = await _form_of(request)
            return await run_in_threadpool(work, state, request, form)
        except MsupplyDhis2Error as error:
            sentence = blamed(error, state.in_words(str(error)))
            return await run_in_threadpool(told, state, sentence)

    return endpoint


def told(state: State, sentence: str, status: int = 400) -> HTMLResponse:
    """Return a page that says only why something did not work."""
    return render(state, "error.html", status=status, sentence=sentence)


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Return a table for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    # Names come from databases: a spreadsheet must not take one for a formula.
    writer.writerows([safe("" if cell is None else str(cell)) for cell in row] for row in rows)
    named = {"content-disposition": f'attachment; filename="{name}.csv"'}
    # Without the mark some spreadsheets take UTF-8 for something else.
    return Response("\ufeff" + text.getvalue(), media_type="text/csv", headers=named)


async def _form_of(request: Request) -> dict[str, str]:
    if request.method != "POST":
        return {}
    form: dict[str, str] = {}
    async with request.form(max_fields=10_000) as given:
        for name, value in given.multi_items():
            text = await _text_of(value) if isinstance(value, UploadFile) else value
            # Browsers end each line of a text area with two characters.
            text = text.replace("\r\n", "\n")
            # Several boxes of one name are several lines.
            form[name] = f"{form[name]}\n{text}" if name in form else text
    return form


async def _text_of(file: UploadFile) -> str:
    try:
        return (await file.read()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(say("error.upload")) from error
