"""The page of Manual push data: a sentence first, then its button, then what became of each value."""

from collections.abc import Mapping, Sequence
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.jobs import Job, begin
from cli.console.local_state import LocalState
from cli.console.pages import Fields, csv_file, render, told
from cli.console.preview_page import begin_preview, event_of
from cli.console.state import Plan
from cli.console.words import say
from cli.local import Preview, Pushed, by_frequency
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.text import count, joined, listed

VALUES_SHOWN = 100
"""How many values a page shows for each cause; the table for a spreadsheet has all of them."""

_REFUSED_COLUMNS = (
    "outcome",
    "code",
    "store",
    "item",
    "metric",
    "period",
    "value",
    "org_unit",
    "data_element",
    "cure",
)


def show(state: LocalState, _: Request, __: Fields) -> Response:
    """Show what would be sent, how far a push is, or what became of the last one."""
    return _page(state)


def plan(state: LocalState, _: Request, form: Fields) -> Response:
    """Begin to compute what would be sent."""
    event = event_of(form)
    if not ("stores" in event or form.get("all_stores")):
        return _page(state, form, say("push.name_a_store"))
    try:
        state.insist_on(event)
    except EventError as error:
        return _page(state, form, state.in_words(str(error)))
    if not _runs(state):
        state.plan = Plan(token_hex(8), event, begin_preview(state, event))
    return RedirectResponse("/push", 303)


def cancel(state: LocalState, _: Request, __: Fields) -> Response:
    """Forget what would be sent."""
    if not _runs(state):
        state.plan = None
    return RedirectResponse("/push", 303)


def send(state: LocalState, _: Request, form: Fields) -> Response:
    """Send what was looked at, as of the same instant."""
    planned = state.plan
    if _runs(state):
        return RedirectResponse("/push", 303)
    if planned is None or planned.id != form.get("plan") or planned.job.result is None:
        return told(state, say("push.another"))
    result = planned.job.result.result
    event = dict(planned.event)
    if result.as_of is not None and not event.keys() & {"as_of", "months"}:
        event["as_of"] = result.as_of.isoformat()
    state.push = begin(say("push.title"), lambda job: state.send(event, job), say("error.unexpected"))
    state.pushed_event, state.plan = event, None
    return RedirectResponse("/push", 303)


def as_csv(state: LocalState, _: Request, __: Fields) -> Response:
    """Hand out the values that are not in DHIS2, with reason and cure."""
    pushed = state.push.result if state.push else None
    lines = [line for _, lines in by_frequency(pushed.refusals) for line in lines] if pushed else []
    rows = ([*(line.fields.get(name) for name in _REFUSED_COLUMNS), line.message] for line in lines)
    return csv_file("not-in-dhis2", (*_REFUSED_COLUMNS, "message"), rows)


def _runs(state: LocalState) -> bool:
    jobs: list[Job[Preview] | Job[Pushed] | None] = [state.plan.job if state.plan else None, state.push]
    return any(job is not None and job.is_running for job in jobs)


def _page(state: LocalState, form: Fields | None = None, fault: str = "") -> Response:
    # Asked first: the work may end while the page is made.
    is_running = _runs(state)
    planned = state.plan
    previewed = planned.job.result if planned and not is_running else None
    pushed = state.push.result if state.push and not is_running else None
    return render(
        state,
        "push.html",
        status=400 if fault else 200,
        is_running=is_running,
        form=form or {},
        fault=fault,
        plan=planned,
        job=planned.job if planned else state.push,
        sentence=_sentence(state, previewed) if previewed else "",
        values=count(len(previewed.values), "value") if previewed else "",
        cannot=_cannot(state, previewed) if previewed else "",
        warnings=previewed.result.warnings if previewed else (),
        pushed=pushed,
        causes=_causes(state, pushed) if pushed else [],
        metrics=list(Metric),
    )


def _sentence(state: LocalState, previewed: Preview) -> str:
    head = state.head()
    return say(
        "push.sentence",
        values=count(len(previewed.values), "value"),
        stores=count(previewed.result.stores, "store"),
        periods=listed(previewed.result.periods),
        server=joined(part for part in (head["server"], head["host"]) if part),
        data_set=head["data_set"],
    )


def _cannot(state: LocalState, previewed: Preview) -> str:
    """Return why nothing can be sent; empty where it can."""
    if not previewed.values:
        return previewed.result.message
    if not state.draft().uses_dhis2:
        return say("push.off")
    if state.login is None and state.credentials_file is None:
        return say("login.missing")
    return ""


def _causes(state: LocalState, pushed: Pushed) -> list[Mapping[str, object]]:
    """Return the causes as the page shows them, each with what asks for its values again, as of the same instant."""
    same = {
        name: state.pushed_event[name] for name in ("basis", "as_of", "months") if name in state.pushed_event
    }
    return [
        {
            "title": f"{count(len(lines), 'value')} {outcome} ({code})",
            "cure": lines[0].fields["cure"],
            "example": lines[0].message,
            "values": [line.fields for line in lines[:VALUES_SHOWN]],
            "more": max(0, len(lines) - VALUES_SHOWN),
            "number": len(lines),
            "again": {
                "stores": _names("store", lines),
                "items": _names("item", lines),
                "metrics": _names("metric", lines),
                **same,
            },
        }
        for (code, outcome), lines in by_frequency(pushed.refusals)
    ]


def _names(field: str, lines: Sequence[LogRecord]) -> str:
    parts = (part for line in lines for part in str(line.fields[field]).split(JOINED_BY))
    return "\n".join(dict.fromkeys(parts))
