"""The page of the settings' earlier versions: who saved which, and when; one of them can be used again."""

from starlette.requests import Request
from starlette.responses import Response

from cli.console.pages import Fields, render, told
from cli.console.state import State
from cli.console.tab import Draft
from cli.console.tab_page import differences
from cli.console.words import say


def show(state: State, _: Request, __: Fields) -> Response:
    """Show the versions, the newest first."""
    versions = state.versions()
    drafts = [Draft(each.document) for each in versions]
    changes = [
        older.differences(newer)
        for newer, older in zip(drafts, [*drafts[1:], None], strict=True)
        if older is not None
    ]
    return render(state, "history.html", versions=versions, changes=[*changes, None], version=state.version())


def use_again(state: State, _: Request, form: Fields) -> Response:
    """Show what saving an earlier version again would change."""
    found = next((each for each in state.versions() if each.name == form.get("name")), None)
    if found is None:
        return told(state, say("history.gone"))
    return differences(state, Draft(found.document), form.get("version", ""))
