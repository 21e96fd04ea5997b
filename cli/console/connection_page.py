"""The page of the connection test: what was tried, what is not well, and the cure."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.pages import Fields, csv_file, render, told
from cli.console.state import State
from cli.console.words import say
from msupply_dhis2.preflight.check import Check, importance
from msupply_dhis2.preflight.job import ConnectionReport

MATCHING = ("stores", "items", "org units without a store", "data elements without an item")
"""The checks that look for what mSupply has and DHIS2 has not, and the reverse; each detail names what may be meant."""


def show(state: State, _: Request, __: Fields) -> Response:
    """Show the last test, or how far it is."""
    job = state.connection
    # Asked first: the test may end while the page is made.
    is_running = job is not None and job.is_running
    tested = job.result if job and not is_running else None
    checks = sorted(tested.report.checks, key=importance) if tested else []
    unsaved = tested and not tested.report.connected and state.draft().differences(tested.tried)
    return render(
        state,
        "connection.html",
        job=job,
        is_running=is_running,
        tested=tested,
        wrong=[check for check in checks if not check.ok],
        noted=[check for check in checks if check.ok and check.note],
        well=[check for check in checks if check.ok and not check.note],
        # Where DHIS2 was reached, no firewall is in the way.
        is_unreached=tested is not None and _is_unreached(tested.report),
        not_matched=[check for check in checks if check.name in MATCHING and check.details],
        can_be_saved=tested and (tested.login or unsaved) and not tested.report.connected,
    )


def _is_unreached(report: ConnectionReport) -> bool:
    login = next((check for check in report.checks if check.name == "login"), None)
    return login is not None and not login.ok and not report.message.startswith("Authentication failed")


def begin_with_saved(state: State, _: Request, __: Fields) -> Response:
    """Test with what is saved, and the login that is known."""
    version = state.version()
    state.begin_test(state.draft(), version, None)
    return RedirectResponse("/connection", 303)


def save_all_the_same(state: State, _: Request, __: Fields) -> Response:
    """Keep the settings and the login that DHIS2 did not let in."""
    tested = state.connection.result if state.connection else None
    if tested is None:
        return told(state, say("connection.none"))
    if not tested.tried.can_be_saved:
        return told(state, say("connection.not_saved"))
    if state.draft().differences(tested.tried):
        state.save(tested.tried, tested.version)
    if tested.login:
        state.keep_login(tested.login)
    return RedirectResponse("/tab?saved=again", 303)


def as_csv(state: State, request: Request, _: Fields) -> Response:
    """Hand out the checks, a row for each detail: all of them, or what does not match between mSupply and DHIS2."""
    tested = state.connection.result if state.connection else None
    columns = ("check", "outcome", "message", "detail")
    only_matching = request.query_params.get("of") == "matching"
    checks = [
        check
        for check in (tested.report.checks if tested else ())
        if not only_matching or check.name in MATCHING
    ]
    rows = (
        (check.name, _outcome(check), check.message, detail)
        for check in sorted(checks, key=importance)
        for detail in check.details or ("",)
    )
    return csv_file("not-matched" if only_matching else "connection-test", columns, rows)


def _outcome(check: Check) -> str:
    if not check.ok:
        return say("connection.wrong_one")
    return say("connection.noted_one") if check.note else say("connection.well_one")
