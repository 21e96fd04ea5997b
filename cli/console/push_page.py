"""The page of Manual push data: a sentence first, then its button, then what became of each value."""

import logging
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.comparison import Beside, Compared, Preview
from cli.console.causes import REFUSED_COLUMNS, causes_of, refused_row
from cli.console.jobs import Job, begin
from cli.console.pages import Fields, csv_file, moments_of, render, told
from cli.console.preview_page import event_of
from cli.console.runs import form_of
from cli.console.state import Plan, Sent, State
from cli.console.words import say
from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import ConfigurationError, EventError
from msupply_dhis2.text import count, listed


def show(state: State, _: Request, __: Fields) -> Response:
    """Show what would be sent, how far a push is, or what became of the last one."""
    return _page(state)


def plan(state: State, _: Request, form: Fields) -> Response:
    """Begin to compute what would be sent: of the stores that are named, of all, or else of one to begin with."""
    event = event_of(form)
    try:
        state.insist_on(event)
    except EventError as error:
        return _page(state, form, state.in_words(str(error)))
    if not _runs(state):
        takes_one = not ("stores" in event or form.get("all_stores"))
        asked = form.get("asked", "")
        number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else None  # noqa: PLR2004 - digits

        def work(job: Job[Compared]) -> Compared:
            if takes_one:
                event["stores"] = [_one_store(state)]
            return state.preview_beside(event, job)

        state.plan = Plan(
            token_hex(8), event, begin(say("push.looks"), work, say("error.unexpected")), number
        )
    return RedirectResponse("/push", 303)


def _one_store(state: State) -> str:
    """Return a store to begin with: the first that the preview has values of, or the first that mSupply has mapped."""
    previewed = state.preview.result.preview.values if state.preview and state.preview.result else ()
    stores = (
        value.store for value in previewed if value.origin.kind is Kind.STORE and JOINED_BY not in value.store
    )
    mapped = (line["name"] for line in state.mapping() if line["kind"] == Kind.STORE)
    store = next(stores, None) or next(mapped, None)
    if store is None:
        raise ConfigurationError(say("push.no_store"))
    return str(store)


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
    number = len(planned.job.result.preview.values)

    def work(job: Job[Sent]) -> Sent:
        job.queued = number
        return state.send(event, job)

    state.push = begin(say("push.title"), work, say("error.unexpected"))
    state.pushed_event, state.plan = event, None
    return RedirectResponse("/push", 303)


def stop(state: State, _: Request, __: Fields) -> Response:
    """Stop the run that is followed."""
    if state.push and state.push.is_running and state.push.run_id:
        state.stop(state.push.run_id)
        state.push.tell(say("push.stopped"), logging.INFO)
    return RedirectResponse("/push", 303)


def as_csv(state: State, _: Request, __: Fields) -> Response:
    """Hand out the values that are not in DHIS2, with reason and cure."""
    sent = state.push.result if state.push else None
    return csv_file("not-in-dhis2", REFUSED_COLUMNS, map(refused_row, sent.refused if sent else ()))


def _runs(state: State) -> bool:
    jobs: list[Job[Compared] | Job[Sent] | None] = [state.plan.job if state.plan else None, state.push]
    return any(job is not None and job.is_running for job in jobs)


def _page(state: State, form: Fields | None = None, fault: str = "") -> Response:
    # Asked first: the work may end while the page is made.
    is_running = _runs(state)
    planned = state.plan
    previewed = planned.job.result if planned and not is_running else None
    sent = state.push.result if state.push and not is_running else None
    same = form_of(state.pushed_event, sent.result.as_of) if sent else {}
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
        more=_more(planned.asked_for, previewed) if planned and previewed else "",
        cannot=_cannot(state, previewed) if previewed else "",
        is_off=not state.draft().uses_dhis2,
        notes=previewed.notes if previewed else (),
        warnings=previewed.preview.result.warnings if previewed else (),
        sent=sent,
        moments=_moments(state, sent) if sent else {},
        left=sum(sent.outcomes.get(name, 0) for name in ("not_sent", "given_up")) if sent else 0,
        same=same,
        causes=causes_of(sent.refused, same) if sent else [],
        all_stores=form.get("all_stores", "") if form else not is_running and state.has_sent(),
        metrics=list(Metric),
    )


def _moments(state: State, sent: Sent) -> dict[str, str]:
    return moments_of(parse_compute_event(state.pushed_event), sent.result.as_of, state.draft().settings)


def _more(asked_for: int | None, compared: Compared) -> str:
    """Say how many more values there are than those that somebody wants to push again; nothing where it is about all."""
    if asked_for is None:
        return ""
    more = len(compared.preview.values) - asked_for
    if more < 0:
        return say("push.fewer", asked=count(asked_for, "value"), less=f"{-more:,}")
    return say("push.more", asked=count(asked_for, "value"), more=f"{more:,}") if more else ""


def _sentence(state: State, compared: Compared) -> str:
    head, preview = state.head(), compared.preview
    name, _, version = head["server"].rpartition(", ")
    host = ", ".join(filter(None, (head["host"], version)))
    numbers = {beside: compared.number(beside) for beside in Beside if beside is not Beside.VANISHED}
    # Where nothing is known of any value the notes say why.
    is_known = numbers[Beside.UNKNOWN] < len(preview.values)
    beside = [f"{number:,} {say('beside.' + name)}" for name, number in numbers.items() if number]
    return say(
        "push.sentence",
        values=count(len(preview.values), "value"),
        stores=_stores(preview),
        periods=listed(preview.result.periods),
        server=f"{name} ({host})" if name else host,
        data_set=head["data_set_title"] or head["data_set"],
        beside=say("push.beside", beside=", ".join(beside)) if is_known else "",
    )


def _stores(preview: Preview) -> str:
    """Return how many stores and customers the values are of; a single one with its name."""
    kinds = {value.store: value.origin.kind for value in preview.values}
    if len(kinds) == 1:
        return say("push.one", kind=next(iter(kinds.values())), name=next(iter(kinds)))
    result = preview.result
    customers = f", {count(result.customers, 'customer')}" if result.customers else ""
    return f"{count(result.stores, 'store')}{customers}"


def _cannot(state: State, compared: Compared) -> str:
    """Return why nothing can be sent; empty where it can."""
    if not compared.preview.values:
        return compared.preview.result.message
    if not state.knows_login:
        return say("login.missing")
    return ""
