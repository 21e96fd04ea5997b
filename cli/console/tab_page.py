"""The pages of the DHIS2 tab: its fields, what saving would change, and the settings as a file."""

from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.local_state import typed_login
from cli.console.pages import Fields, render
from cli.console.state import State
from cli.console.tab import FIRST_FOLDED, Draft, FormField, loses_comments
from cli.console.words import say
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.state.connections import written_in


def show(state: State, request: Request, _: Fields) -> Response:
    """Show the settings as they are saved."""
    # Read first: what is newer than its version is not saved.
    version = state.version()
    return _form(state, state.draft(), version, saved=request.query_params.get("saved"))


def submit(state: State, _: Request, form: Fields) -> Response:
    """Take the fields: show their faults, add a row, or go on to what saving would change."""
    draft, version = state.draft().changed(form), form.get("version", "")
    match form.get("action"):
        case "add_row":
            return _form(state, draft.with_row(form.get("new_metric", "")), version)
        case "review":
            return _differences(state, draft, version)
        case "test":
            state.begin_test(draft, version, typed_login(form))
            return RedirectResponse("/connection", 303)
        case _:
            return _form(state, draft, version)


def review(state: State, _: Request, form: Fields) -> Response:
    """Show what a whole document would change."""
    return _differences(state, Draft(form.get("document", "")), form.get("version", ""))


def edit(state: State, _: Request, form: Fields) -> Response:
    """Go on editing a document that is not saved."""
    return _form(state, Draft(form.get("document", "")), form.get("version", ""))


def save(state: State, _: Request, form: Fields) -> Response:
    """Save a document that was reviewed."""
    draft = Draft(form.get("document", ""))
    if not draft.can_be_saved:
        return _differences(state, draft, form.get("version", ""))
    is_first = not state.document()
    state.save(draft, form.get("version", ""))
    return RedirectResponse(f"/tab?saved={'first' if is_first else 'again'}", 303)


def download(state: State, _: Request, __: Fields) -> Response:
    """Hand out the settings as they are saved."""
    named = {"content-disposition": 'attachment; filename="settings.yaml"'}
    return Response(state.draft().document, media_type="application/yaml", headers=named)


def _form(state: State, draft: Draft, version: str, *, saved: str | None = None) -> Response:
    fields = list(draft.fields().values())
    folded = next(place for place, field in enumerate(fields) if field.name == FIRST_FOLDED)
    before_rows = next(place for place, field in enumerate(fields) if field.name == "setup") + 1
    logins = _logins(draft)
    return render(
        state,
        "tab.html",
        draft=draft,
        version=version,
        saved=saved,
        is_new=not state.document(),
        above=fields[:before_rows],
        below=fields[before_rows:folded],
        beyond=fields[folded:],
        open_beyond=_has_fault(fields[folded:]),
        rows=draft.rows(),
        columns=draft.row_fields(),
        metrics=list(Metric),
        logins=logins,
        login_fields=",".join(f"login.{name}" for name, _ in logins),
        last=_last_test(state),
    )


def _last_test(state: State) -> str:
    """Return what is told beside the button: the last test's message."""
    tested = state.connection.result if state.connection else None
    if tested is None or state.connection is None or state.connection.ended is None:
        return say("tab.not_tested")
    when = written_in(state.connection.ended, ZoneInfo(state.time_zone))
    return say("tab.tested", message=tested.report.message, time=when)


def _logins(draft: Draft) -> list[tuple[str, str]]:
    """Return the fields of the login, each with the kind of its control."""
    client = [] if draft.settings.basic_authentication else [("client", "text"), ("secret", "password")]
    return [("username", "text"), ("password", "password"), *client, ("token", "password")]


def _has_fault(fields: list[FormField]) -> bool:
    return any(field.fault for field in fields)


def _differences(state: State, draft: Draft, version: str) -> Response:
    saved = state.draft()
    return render(
        state,
        "difference.html",
        draft=draft,
        version=version,
        differences=saved.differences(draft),
        loses_comments=loses_comments(saved.document),
        is_new=not state.document(),
    )
