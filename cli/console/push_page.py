"""The page of Manual push data: a sentence first, then its button, then what became of each value."""

import logging
from collections.abc import Mapping, Sequence
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.comparison import Beside, Compared
from cli.console.jobs import Job, begin
from cli.console.pages import Fields, csv_file, render, told
from cli.console.preview_page import begin_preview, event_of
from cli.console.stack_state import StackState
from cli.console.state import Plan, Refused, Sent, State
from cli.console.words import say
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.text import count, joined, listed

VALUES_SHOWN = 100
"""How many values a page shows for each cause; the table for a spreadsheet has all of them."""

_VALUE_COLUMNS = ("store", "item", "metric", "period", "value", "org_unit", "data_element")


def show(state: State, _: Request, __: Fields) -> Response:
    """Show what would be sent, how far a push is, or what became of the last one."""
    return _page(state)


def plan(state: State, _: Request, form: Fields) -> Response:
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


def cancel(state: State, _: Request, __: Fields) -> Response:
    """Forget what would be sent."""
    if not _runs(state):
        state.plan = None
    return RedirectResponse("/push", 303)


def send(state: State, _: Request, form: Fields) -> Response:
    """Send what was looked at, as of the same instant."""
    planned = state.plan
    if _runs(state):
        return RedirectResponse("/push", 303)
    if planned is None or planned.id != form.get("plan") or planned.job.result is None:
        return told(state, say("push.another"))
    result = planned.job.result.preview.result
    event = dict(planned.event)
    if result.as_of is not None and not event.keys() & {"as_of", "months"}:
        event["as_of"] = result.as_of.isoformat()
    if not state.draft().uses_dhis2:
        # Whoever presses the button sees the sentence that says so.
        event["while_off"] = True
    state.push = begin(say("push.title"), lambda job: state.send(event, job), say("error.unexpected"))
    state.pushed_event, state.plan = event, None
    return RedirectResponse("/push", 303)


def stop(state: StackState, _: Request, __: Fields) -> Response:
    """Stop the run that is followed."""
    if state.push and state.push.is_running and state.push.run_id:
        state.push.tell(state.stop(state.push.run_id), logging.INFO)
    return RedirectResponse("/push", 303)


def as_csv(state: State, _: Request, __: Fields) -> Response:
    """Hand out the values that are not in DHIS2, with reason and cure."""
    sent = state.push.result if state.push else None
    rows = (
        (each.outcome, each.code, *(each.value.get(name) for name in _VALUE_COLUMNS), each.cure, each.why)
        for each in (sent.refused if sent else ())
    )
    return csv_file("not-in-dhis2", ("outcome", "code", *_VALUE_COLUMNS, "cure", "message"), rows)


def _runs(state: State) -> bool:
    jobs: list[Job[Compared] | Job[Sent] | None] = [state.plan.job if state.plan else None, state.push]
    return any(job is not None and job.is_running for job in jobs)


def _page(state: State, form: Fields | None = None, fault: str = "") -> Response:
    # Asked first: the work may end while the page is made.
    is_running = _runs(state)
    planned = state.plan
    previewed = planned.job.result if planned and not is_running else None
    sent = state.push.result if state.push and not is_running else None
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
        values=count(len(previewed.preview.values), "value") if previewed else "",
        cannot=_cannot(state, previewed) if previewed else "",
        is_off=not state.draft().uses_dhis2,
        notes=previewed.notes if previewed else (),
        warnings=previewed.preview.result.warnings if previewed else (),
        sent=sent,
        causes=_causes(state, sent.refused) if sent else [],
        metrics=list(Metric),
    )


def _sentence(state: State, compared: Compared) -> str:
    head, preview = state.head(), compared.preview
    numbers = {beside: compared.number(beside) for beside in Beside if beside is not Beside.VANISHED}
    # Where nothing is known of any value the notes say why.
    is_known = numbers[Beside.UNKNOWN] < len(preview.values)
    beside = [f"{number:,} {say('beside.' + name)}" for name, number in numbers.items() if number]
    return say(
        "push.sentence",
        values=count(len(preview.values), "value"),
        stores=count(preview.result.stores, "store"),
        periods=listed(preview.result.periods),
        server=joined(part for part in (head["server"], head["host"]) if part),
        data_set=head["data_set"],
        beside=say("push.beside", beside=", ".join(beside)) if is_known else "",
    )


def _cannot(state: State, compared: Compared) -> str:
    """Return why nothing can be sent; empty where it can."""
    if not compared.preview.values:
        return compared.preview.result.message
    if not state.knows_login:
        return say("login.missing")
    return ""


def _causes(state: State, refused: Sequence[Refused]) -> list[Mapping[str, object]]:
    """Return the causes as the page shows them, each with what asks for its values again, as of the same instant."""
    same = {
        name: state.pushed_event[name] for name in ("basis", "as_of", "months") if name in state.pushed_event
    }
    by_cause: dict[tuple[str, str], list[Refused]] = {}
    for each in refused:
        by_cause.setdefault((each.code, each.outcome), []).append(each)
    return [
        {
            "title": f"{count(len(of_cause), 'value')} {outcome} ({code})",
            "cure": of_cause[0].cure,
            "example": of_cause[0].why,
            "values": [each.value for each in of_cause[:VALUES_SHOWN]],
            "more": max(0, len(of_cause) - VALUES_SHOWN),
            "number": len(of_cause),
            "again": {
                "stores": _names("store", of_cause),
                "items": _names("item", of_cause),
                "metrics": _names("metric", of_cause),
                **same,
            },
        }
        for (code, outcome), of_cause in sorted(by_cause.items(), key=lambda cause: -len(cause[1]))
    ]


def _names(field: str, refused: Sequence[Refused]) -> str:
    parts = (part for each in refused for part in str(each.value[field]).split(JOINED_BY))
    return "\n".join(dict.fromkeys(parts))
