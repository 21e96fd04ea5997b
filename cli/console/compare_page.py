"""The page that compares one store with mSupply's own screen: its numbers beside DHIS2's, ticked by the officer."""

import json
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.comparison import Beside, ComparedValue
from cli.console.pages import Fields, render, told
from cli.console.preview_page import RULES, begin_preview, moments_of_compared
from cli.console.state import State
from cli.console.words import say
from msupply_dhis2.state.run import event_of

VALUES_SHOWN = 10
"""So many say whether stores, items and metrics are mapped as they should be."""


def show(state: State, _: Request, __: Fields) -> Response:
    """Show the values of a store, or ask for one."""
    job = state.comparison
    # Asked first: the work may end while the page is made.
    is_running = job is not None and job.is_running
    event = {} if job else last_event(state)
    return render(
        state,
        "compare.html",
        job=job,
        is_running=is_running,
        store=next(iter(_stores_of(event)), ""),
        has_sent=bool(event),
        lines=[] if is_running else shown(state),
        notes=job.result.notes if job and job.result else (),
        key_of=key_of,
        rules=RULES,
        moments=moments_of_compared(state, job.result if job else None),
        ticked=state.ticked,
    )


def begin(state: State, _: Request, form: Fields) -> Response:
    """Begin to compute the values of a store as they were sent last, and to read what DHIS2 holds."""
    store, event = form.get("store", "").strip(), last_event(state)
    if not store:
        return told(state, say("push.name_a_store"))
    # What is compared is about the same instant as what was sent.
    asked = {name: event[name] for name in ("basis", "as_of", "months") if name in event}
    state.comparison = begin_preview(state, {"manual": True, **asked, "stores": [store]})
    state.ticked = frozenset()
    return RedirectResponse("/compare", 303)


def tick(state: State, _: Request, form: Fields) -> Response:
    """Note which values mSupply's screen shows too."""
    keys = {key_of(line) for line in shown(state)}
    state.ticked = frozenset(keys & set(form.get("same", "").splitlines()))
    return RedirectResponse("/" if keys and state.ticked == keys else "/compare", 303)


def shown(state: State) -> Sequence[ComparedValue]:
    """Return the values that are to be compared, one of each item and metric in turn."""
    job = state.comparison
    lines = job.result.lines if job and job.result else ()
    sent = [line for line in lines if line.beside is not Beside.VANISHED]
    # A zero says little: what is not there may be shown as 0, too.
    return sorted(sent, key=lambda line: line.value.value in {"0", "0.0"})[:VALUES_SHOWN]


def key_of(line: ComparedValue) -> str:
    """Return what tells a value from the others."""
    return " ".join(part or "-" for part in line.value.key)


def last_event(state: State) -> Mapping[str, object]:
    """Return what asked for the values that were sent last by hand; nothing where none were."""
    if state.pushed_event:
        return state.pushed_event
    by_hand = (run for run in state.known().stack_runs if run.started_by == "manual" and run.event)
    return next((json.loads(event_of(run)) for run in by_hand), {})


def _stores_of(event: Mapping[str, object]) -> Sequence[str]:
    stores = event.get("stores")
    return [str(store) for store in stores] if isinstance(stores, list | tuple) else []
