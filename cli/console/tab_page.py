"""The pages of the DHIS2 tab: its fields, what saving would change, and the settings as a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.local_state import typed_login
from cli.console.pages import Fields, render, told
from cli.console.stack_state import StackState
from cli.console.state import State
from cli.console.tab import FIRST_FOLDED, Draft, FormField, loses_comments
from cli.console.words import say
from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import CredentialsError
from msupply_dhis2.state.connections import written_in


def show(state: State, request: Request, _: Fields) -> Response:
    """Show the settings as they are saved."""
    # Read first: what is newer than its version is not saved.
    version = state.version()
    asked, draft = request.query_params, state.draft()
    # What is off is filled in only by who means it; a new document is to be filled in.
    is_greyed = not (draft.uses_dhis2 or asked.get("setup") or not state.document())
    return _form(state, draft, version, saved=asked.get("saved"), is_greyed=is_greyed)


def submit(state: State, _: Request, form: Fields) -> Response:
    """Take the fields: show their faults, add a row, or go on to what saving would change."""
    draft, version = state.draft().changed(form), form.get("version", "")
    match form.get("action"):
        case "add_row":
            return _form(state, draft.with_row(form.get("new_metric", "")), version)
        case "review":
            return differences(state, draft, version)
        case "test":
            state.begin_test(draft, version, typed_login(form))
            return RedirectResponse("/connection", 303)
        case _:
            return _form(state, draft, version)


def review(state: State, _: Request, form: Fields) -> Response:
    """Show what a whole document would change."""
    return differences(state, Draft(form.get("document", "")), form.get("version", ""))


def save_database(state: StackState, _: Request, form: Fields) -> Response:
    """Enter the address of mSupply's database into the stack's secret."""
    given = {
        name: form.get(f"database.{name}", "").strip() for name in ("host", "port", "dbname", "username")
    }
    given["password"] = form.get("database.password", "")
    try:
        state.save_database(json.dumps({name: text for name, text in given.items() if text}))
    except CredentialsError as error:
        return told(state, say("database.wrong", fault=error.fault))
    return RedirectResponse("/tab?saved=database&setup=yes", 303)


def edit(state: State, _: Request, form: Fields) -> Response:
    """Go on editing a document that is not saved."""
    return _form(state, Draft(form.get("document", "")), form.get("version", ""))


def save(state: State, _: Request, form: Fields) -> Response:
    """Save a document that was reviewed."""
    draft = _kept_off(state, Draft(form.get("document", "")))
    if not draft.can_be_saved:
        return differences(state, draft, form.get("version", ""))
    is_first = not state.document()
    state.save(draft, form.get("version", ""))
    return RedirectResponse(f"/tab?saved={'first' if is_first else 'again'}", 303)


def download(state: State, _: Request, __: Fields) -> Response:
    """Hand out the settings as they are saved."""
    named = {"content-disposition": 'attachment; filename="settings.yaml"'}
    return Response(state.draft().document, media_type="application/yaml", headers=named)


def _kept_off(state: State, draft: Draft) -> Draft:
    """Return a draft that leaves sending off where it is off: to switch it on is a step of its own."""
    return draft if state.draft().uses_dhis2 else draft.switched(on=False)


def _form(
    state: State, draft: Draft, version: str, *, saved: str | None = None, is_greyed: bool = False
) -> Response:
    offers = _offers(state, draft)
    fields = [_with_offers(field, offers) for field in draft.fields().values()]
    folded = next(place for place, field in enumerate(fields) if field.name == FIRST_FOLDED)
    before_rows = next(place for place, field in enumerate(fields) if field.name == "setup") + 1
    logins = _logins(draft)
    about_database, about_login = state.about_secrets()
    return render(
        state,
        "tab.html",
        draft=draft,
        version=version,
        saved=saved,
        is_greyed=is_greyed,
        is_on=state.draft().uses_dhis2,
        about_database=about_database,
        about_login=about_login,
        database_at_test=_said_of(state, "database"),
        about_items=_said_of(state, "items"),
        is_new=not state.document(),
        above=fields[:before_rows],
        below=fields[before_rows:folded],
        beyond=fields[folded:],
        open_beyond=_has_fault(fields[folded:]),
        offers=offers,
        rows=[
            replace(
                row,
                fields={name: _with_offers(field, offers, row.fields) for name, field in row.fields.items()},
            )
            for row in draft.rows()
        ],
        columns=draft.row_fields(),
        metrics=list(Metric),
        logins=logins,
        login_fields=",".join(f"login.{name}" for name, _ in logins),
        last=_last_test(state),
        last_success=_last_success(state, draft),
    )


def _last_test(state: State) -> str:
    """Return what is told beside the button: the last test's message."""
    tested = state.connection.result if state.connection else None
    if tested is None or state.connection is None or state.connection.ended is None:
        return say("tab.not_tested")
    when = written_in(state.connection.ended, ZoneInfo(state.time_zone))
    return say("tab.tested", message=tested.report.message, time=when)


def _last_success(state: State, draft: Draft) -> str:
    """Return when DHIS2 last let somebody in, and whom; empty where that is not known."""
    url = state.dhis2_url or draft.settings.url
    found = state.titles(url) if url else None
    if found is None:
        return ""
    return say("today.last", time=written_in(found.instant, ZoneInfo(state.time_zone)), user=found.user)


def _offers(state: State, draft: Draft) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Return what DHIS2 has to choose from, since the last test that it let in: for each list values and their words."""
    tested = state.connection.result if state.connection else None
    if tested is None:
        return {}
    offers = tested.report.offers
    scheme = draft.settings.data_set_id_scheme
    lists = {
        "offered-data_set_id": _of_scheme(offers.data_sets, scheme),
        "offered-period_format": [(name, "") for name in offers.period_types],
        **{
            f"offered-category_option_id-{each.value}": _of_scheme(offers.option_combos, each)
            for each in Scheme
        },
    }
    return {name: offered for name, offered in lists.items() if offered}


def _of_scheme(offers: Sequence[Identified], scheme: Scheme) -> list[tuple[str, str]]:
    named = ((offer.id if scheme is Scheme.UID else offer.code, offer.name) for offer in offers)
    return [(identifier, name) for identifier, name in named if identifier]


def _with_offers(
    field: FormField, offers: Mapping[str, object], row: Mapping[str, FormField] | None = None
) -> FormField:
    """Return a field with the list that is offered for it, if there is one."""
    name = "offered-" + field.name.rpartition(".")[2]
    if row is not None:
        name += "-" + row["category_option_combo_id_scheme"].value
    return replace(field, offers=name) if name in offers else field


def _said_of(state: State, name: str) -> str:
    """Return what a check of the last test said; empty where there was none."""
    tested = state.connection.result if state.connection else None
    checks = tested.report.checks if tested else ()
    return next((check.message for check in checks if check.name == name), "")


def _logins(draft: Draft) -> list[tuple[str, str]]:
    """Return the fields of the login, each with the kind of its control."""
    client = [] if draft.settings.basic_authentication else [("client", "text"), ("secret", "password")]
    return [("username", "text"), ("password", "password"), *client, ("token", "password")]


def _has_fault(fields: list[FormField]) -> bool:
    return any(field.fault for field in fields)


def differences(state: State, draft: Draft, version: str) -> Response:
    """Show what saving a draft would change."""
    draft = _kept_off(state, draft)
    saved = state.draft()
    return render(
        state,
        "difference.html",
        draft=draft,
        version=version,
        differences=saved.differences(draft),
        next_version=state.next_version,
        loses_comments=loses_comments(saved.document),
        is_new=not state.document(),
    )
