"""The first page: how far the officer is, and what has to be done today."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from cli.console.compare_page import shown
from cli.console.pages import Fields, render
from cli.console.state import State
from cli.console.today import OUTCOMES, PushRun, Session, make_today


def show(state: State, _: Request, __: Fields) -> Response:
    """Show the path to the first good push, or what became of the last ones."""
    now = datetime.now(UTC).astimezone(ZoneInfo(state.time_zone))
    today = make_today(state.known(), session_of(state), state.draft(), now)
    return render(state, "today.html", today=today, columns=_columns(today.runs))


def _columns(runs: Sequence[PushRun]) -> list[str]:
    """Return which outcomes the table of runs has columns for."""
    always = {"stored", "unchanged", "rejected"}
    return [name for name in OUTCOMES if name in always or any(run.counts.get(name) for run in runs)]


def session_of(state: State) -> Session:
    """Return what the console itself knows since it started."""
    job = state.connection
    tested = job.result if job and not job.is_running else None
    checks = tested.report.checks if tested else ()
    fault = next((check.message for check in checks if check.name == "database" and not check.ok), None)
    return Session(
        has_stack=state.has_stack,
        tested=tested is not None,
        connected=tested is not None and tested.report.connected,
        message=tested.report.message if tested else "",
        wrong_checks=sum(not check.ok for check in checks),
        database_fault=fault,
        ticked=len(state.ticked),
        to_tick=len(shown(state)),
        has_preview=state.preview is not None and state.preview.result is not None,
    )
