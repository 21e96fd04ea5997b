"""The pages of the runs: all of them, one, its calls, one value through all, and what was not delivered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.causes import REFUSED_COLUMNS, causes_of, refused_row
from cli.console.jobs import begin
from cli.console.pages import Fields, csv_file, moments_of, render, told
from cli.console.runs import Refused, RunShown, form_of, is_value
from cli.console.stack_state import StackState
from cli.console.state import State
from cli.console.today import link_of
from cli.console.words import say
from msupply_dhis2.domain.metric import Metric

_ASKED = ("store", "item", "metric", "period")


def show(state: State, request: Request, _: Fields) -> Response:
    """Show the last runs, whether sending is paused, and what was not delivered."""
    done = request.query_params.get("done", "")
    said = {"pause": say("sending.paused"), "resume": say("sending.resumed")}.get(done, "")
    return render(
        state,
        "runs.html",
        known=state.known_runs(),
        said=said,
        metrics=list(Metric),
        asked=dict.fromkeys(_ASKED, ""),
    )


def show_run(state: State, request: Request, _: Fields) -> Response:
    """Show a run: what became of its values, and by cause what is not in DHIS2."""
    run_id = request.path_params["id"]
    run, refused, fault = state.run_and_refused(run_id)
    if run is None:
        return told(state, say("run.unknown", run=run_id), 404)
    return render(
        state,
        "run.html",
        run=run,
        fault=fault,
        causes=causes_of(refused, form_of(run.event, run.as_of)),
        moments=moments_of(run.asked, run.as_of, state.draft().settings),
        calls=urlencode(
            {
                "id": run.id,
                **{
                    name: instant.isoformat()
                    for name, instant in (("since", run.started_at), ("until", run.ended_at))
                    if instant is not None
                },
            }
        ),
    )


def refused_as_csv(state: State, request: Request, _: Fields) -> Response:
    """Hand out the values of a run that are not in DHIS2, with reason and cure."""
    run, refused, fault = state.run_and_refused(request.query_params.get("id", ""))
    if run is None or fault:
        return told(state, fault or say("run.unknown", run=request.query_params.get("id", "")))
    return csv_file("not-in-dhis2", REFUSED_COLUMNS, map(refused_row, refused))


def stop(state: State, _: Request, form: Fields) -> Response:
    """Stop a run."""
    run_id = form.get("id", "")
    state.stop(run_id)
    return RedirectResponse(link_of(run_id), 303)


def again(state: StackState, _: Request, form: Fields) -> Response:
    """Compute a run of a schedule again, with its own event and as of its own instant, and send what DHIS2 lacks."""
    run = state.run(form.get("id", ""))
    if run is None:
        return told(state, say("run.unknown", run=form.get("id", "")), 404)
    event = {**run.event, **({"as_of": run.as_of.isoformat()} if _lacks_instant(run) and run.as_of else {})}
    if state.push is None or not state.push.is_running:
        state.push = begin(say("push.title"), lambda job: state.send(event, job), say("error.unexpected"))
        state.pushed_event, state.plan = event, None
    return RedirectResponse("/push", 303)


def _lacks_instant(run: RunShown) -> bool:
    return not run.event.keys() & {"scheduled_time", "as_of", "months"}


def show_calls(state: State, request: Request, _: Fields) -> Response:
    """Show the last calls of DHIS2 of a run."""
    asked = request.query_params
    run_id = asked.get("id", "")
    calls = state.calls(run_id, _instant(asked.get("since", "")), _instant(asked.get("until", "")))
    return render(state, "calls.html", run_id=run_id, calls=calls)


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def show_value(state: State, request: Request, _: Fields) -> Response:
    """Show what became of one value in all runs."""
    asked = {name: request.query_params.get(name, "").strip() for name in _ASKED}
    found: list[tuple[RunShown, Sequence[Refused], str]] = []
    if asked["store"] and asked["item"]:
        for run, refused, fault in state.refused_of_all(asked):
            its = [each for each in refused if is_value(each, asked)]
            if run.is_about(asked) or its:
                found.append((run, its, fault))
    return render(state, "found.html", asked=asked, found=found, metrics=list(Metric), moments={})


def show_not_delivered(state: State, _: Request, __: Fields) -> Response:
    """Show what was not delivered, with the reasons."""
    # Asked first: the work may end while the page is made.
    job = state.sending_again
    is_running = job is not None and job.is_running
    groups, faults = state.not_delivered()
    return render(state, "not_delivered.html", job=job, is_running=is_running, groups=groups, faults=faults)


def send_again(state: StackState, _: Request, form: Fields) -> Response:
    """Send again what was not delivered: all of it, or that of a run with a reason."""
    if state.sending_again is None or not state.sending_again.is_running:
        state.begin_sending_again(form.get("run") or None, form.get("reason") or None)
    return RedirectResponse("/not-delivered", 303)


def pause(state: StackState, _: Request, form: Fields) -> Response:
    """Pause sending."""
    state.pause(form.get("reason", "").strip())
    return RedirectResponse("/runs?done=pause", 303)


def resume(state: StackState, _: Request, __: Mapping[str, str]) -> Response:
    """Go on sending."""
    state.resume()
    return RedirectResponse("/runs?done=resume", 303)
