"""The page that switches sending on and off: a step of its own, after a good test."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console import schedules
from cli.console.pages import Fields, render
from cli.console.state import State
from cli.console.tab import Draft
from cli.console.today import first_due
from cli.console.words import choice_in_words, say


def show(state: State, request: Request, _: Fields) -> Response:
    """Show whether sending is on, and what switching would do."""
    return _page(state, done=request.query_params.get("done", ""))


def switch(state: State, _: Request, form: Fields) -> Response:
    """Switch on or off."""
    draft, is_on = state.draft(), form.get("action") == "on"
    if is_on and why_not(state, draft):
        return _page(state, status=400)
    state.save(draft.switched(on=is_on), form.get("version", ""))
    return RedirectResponse(f"/switch?done={'on' if is_on else 'off'}", 303)


def why_not(state: State, draft: Draft) -> str:
    """Return why it cannot be switched on; empty where it can."""
    if draft.faults:
        return say("switch.faults", number=f"{len(draft.faults):,}")
    tested = state.connection.result if state.connection and not state.connection.is_running else None
    if (
        tested is None
        or not tested.report.connected
        or tested.tried.switched(on=draft.uses_dhis2).differences(draft)
    ):
        return say("switch.untested")
    return ""


def _page(state: State, done: str = "", status: int = 200) -> Response:
    # Read first: what is newer than its version is not saved.
    version = state.version()
    draft = state.draft()
    why = "" if draft.uses_dhis2 else why_not(state, draft)
    known = state.known()
    now = datetime.now(UTC).astimezone(ZoneInfo(state.time_zone))
    first = first_due(known, draft.settings, now)
    tested = state.connection.result if state.connection else None
    return render(
        state,
        "switch.html",
        status=status,
        version=version,
        done=done,
        is_on=draft.uses_dhis2,
        why_not=why,
        has_faults=bool(draft.faults),
        wrong=[check for check in tested.report.checks if not check.ok] if tested and not why else [],
        first=say(
            "switch.first",
            time=schedules.day_in_words(first[0]),
            interval=choice_in_words(first[1].value),
            metrics=", ".join(
                dict.fromkeys(
                    row.metric.label for row in draft.settings.active_rows if row.interval is first[1]
                )
            ),
        )
        if first
        else "",
        is_scheduled=known.is_scheduled,
    )
