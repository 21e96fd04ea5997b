"""The pages of the DHIS2 tab: its fields, what saving would change, and the settings as a file."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.local_state import LocalState, version_of
from cli.console.pages import Fields, render
from cli.console.tab import FIRST_FOLDED, Draft, FormField, loses_comments
from msupply_dhis2.domain.metric import Metric


def show(state: LocalState, request: Request, _: Fields) -> Response:
    """Show the settings as they are saved."""
    document = state.document()
    return _form(state, state.draft(), version_of(document), saved=request.query_params.get("saved"))


def submit(state: LocalState, _: Request, form: Fields) -> Response:
    """Take the fields: show their faults, add a row, or go on to what saving would change."""
    draft, version = state.draft().changed(form), form.get("version", "")
    match form.get("action"):
        case "add_row":
            return _form(state, draft.with_row(form.get("new_metric", "")), version)
        case "review":
            return _differences(state, draft, version)
        case _:
            return _form(state, draft, version)


def review(state: LocalState, _: Request, form: Fields) -> Response:
    """Show what a whole document would change."""
    return _differences(state, Draft(form.get("document", "")), form.get("version", ""))


def edit(state: LocalState, _: Request, form: Fields) -> Response:
    """Go on editing a document that is not saved."""
    return _form(state, Draft(form.get("document", "")), form.get("version", ""))


def save(state: LocalState, _: Request, form: Fields) -> Response:
    """Save a document that was reviewed."""
    draft = Draft(form.get("document", ""))
    if not draft.can_be_saved:
        return _differences(state, draft, form.get("version", ""))
    is_first = not state.document()
    state.save(draft, form.get("version", ""))
    return RedirectResponse(f"/tab?saved={'first' if is_first else 'again'}", 303)


def download(state: LocalState, _: Request, __: Fields) -> Response:
    """Hand out the settings as they are saved."""
    named = {"content-disposition": 'attachment; filename="settings.yaml"'}
    return Response(state.draft().document, media_type="application/yaml", headers=named)


def _form(state: LocalState, draft: Draft, version: str, *, saved: str | None = None) -> Response:
    fields = list(draft.fields().values())
    folded = next(place for place, field in enumerate(fields) if field.name == FIRST_FOLDED)
    before_rows = next(place for place, field in enumerate(fields) if field.name == "setup") + 1
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
    )


def _has_fault(fields: list[FormField]) -> bool:
    return any(field.fault for field in fields)


def _differences(state: LocalState, draft: Draft, version: str) -> Response:
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
