"""What the first page says: how far the officer is, what the last runs came to, what waits, and what has to be done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from cli.console import schedules
from cli.console.tab import Draft
from cli.console.words import choice_in_words, say
from msupply_dhis2.compute.event import parse_noted_event
from msupply_dhis2.periods import Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.breaker import Breaker
from msupply_dhis2.state.breaker import State as BreakerState
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.run import COMPUTED_WITHIN, Counts, Outcome, Run
from msupply_dhis2.text import count
from msupply_dhis2.watchdog.runs import Overdue, ScheduleError, due_instant, overdue, parse_schedule

RUNS_SHOWN = 8

OUTCOMES = (*(each.name for each in fields(Counts) if each.name != "queued"), "given_up")
"""What may have become of a value, in the order of a run's row; given up is none only without a stack."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the path to the first good push: ``said`` is what is known of it, or what is missing."""

    name: str
    link: str
    is_done: bool
    said: str


@dataclass(frozen=True, slots=True)
class Task:
    """Something that somebody has to do, and the page where."""

    said: str
    link: str


@dataclass(frozen=True, slots=True)
class PushRun:
    """A run, or a push without a stack: what it was, and what became of its values, which add up to ``all``."""

    began: datetime | None
    started_by: str
    what: str
    of_all: bool
    outcome: str
    is_well: bool
    counts: Mapping[str, int]
    said: str = ""
    link: str = ""

    @property
    def all(self) -> int:
        """How many values it was about."""
        return sum(self.counts.values())

    @property
    def has_sent(self) -> bool:
        """Whether DHIS2 has any of its values."""
        return bool(self.counts.get("stored", 0) + self.counts.get("unchanged", 0))


@dataclass(frozen=True, slots=True)
class IntervalLine:
    """An interval of active rows: what it sends and when, and how its last run ended."""

    name: str
    metrics: str
    when: str
    last: PushRun | None
    next: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """The last successful connection to a DHIS2, whose it was, and the titles that DHIS2 told then."""

    instant: datetime
    user: str
    server: str | None = None
    data_set_id: str | None = None
    data_set: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the systems tell, as far as they could be asked; what could not is among the ``faults``.

    Attributes
    ----------
    runs
        The last pushes, the newest first.
    stack_runs
        The same as a stack keeps them, where there is one.
    waiting, not_delivered
        Messages on the queues of a stack; ``None``: not known.
    schedules
        The expression of each interval; empty without a stack.
    settled_since
        Since when settings and schedules are as they are, and all runs are known: what was due before is nobody's fault.
    database
        When the address of mSupply's database was entered, in words.
    """

    runs: Sequence[PushRun] = ()
    stack_runs: Sequence[Run] = ()
    last: Remembered | None = None
    waiting: int | None = None
    not_delivered: int | None = None
    breaker: Breaker | None = None
    schedules: Mapping[Interval, str] = field(default_factory=dict)
    is_scheduled: bool = False
    settled_since: datetime | None = None
    database: str = ""
    faults: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What the console itself knows since it started.

    ``database_fault`` is what the last test said of the database, ``None`` where it answered; ``tested`` whether there was a
    test, and ``message`` what it said.
    """

    has_stack: bool
    tested: bool = False
    connected: bool = False
    message: str = ""
    wrong_checks: int = 0
    database_fault: str | None = None
    has_preview: bool = False
    ticked: int = 0
    to_tick: int = 0


@dataclass(frozen=True, slots=True)
class Today:
    """All of the first page."""

    steps: Sequence[Step]
    tasks: Sequence[Task]
    intervals: Sequence[IntervalLine]
    runs: Sequence[PushRun]
    last: str
    paused: str
    waiting: str
    not_delivered: str
    faults: Sequence[str]

    @property
    def is_begun(self) -> bool:
        """Whether all steps are done: then the path is not shown any more."""
        return all(step.is_done for step in self.steps)


def make_today(known: Known, session: Session, draft: Draft, now: datetime) -> Today:
    """Put together what the page says, at an instant in the time zone of the console."""
    zone = ZoneInfo(str(now.tzinfo))
    return Today(
        steps=list(steps(known, session, draft)),
        tasks=list(_tasks(known, session, draft, now)),
        intervals=_intervals(known, draft.settings, now) if known.schedules else [],
        runs=known.runs[:RUNS_SHOWN],
        last=say("today.last", time=written_in(known.last.instant, zone), user=known.last.user)
        if known.last
        else "",
        paused=why_paused(known.breaker, zone) if known.breaker else "",
        waiting=_waiting(known),
        not_delivered=_not_delivered(known),
        faults=known.faults,
    )


# The path ---------------------------------------------------------------------------------------------------


def steps(known: Known, session: Session, draft: Draft) -> list[Step]:
    """Return the steps of the path to the first good push, in their order."""
    sent = [run for run in known.runs if run.has_sent]
    of_all = [run for run in sent if run.of_all]
    return [
        _database(known, session, has_sent=bool(sent)),
        _tab(draft),
        _test(known, session),
        Step(
            "preview",
            "/preview",
            session.has_preview or bool(sent),
            say("path.preview_done") if session.has_preview or sent else say("path.preview_missing"),
        ),
        Step("store", "/push", bool(sent), sent[-1].said if sent else say("path.store_missing")),
        _compare(session, has_sent=bool(sent), has_all=bool(of_all)),
        Step("all", "/push", bool(of_all), of_all[0].said if of_all else say("path.all_missing")),
        _switch(known, session, draft),
    ]


def _database(known: Known, session: Session, *, has_sent: bool) -> Step:
    link = "/tab#database"
    if session.database_fault:
        return Step("database", link, is_done=False, said=session.database_fault)
    if session.tested or has_sent or session.has_preview:
        return Step("database", link, is_done=True, said=say("path.database_done"))
    if known.database:
        return Step(
            "database", "/connection", is_done=False, said=f"{known.database} {say('path.database_untested')}"
        )
    said = say("path.database_missing") if session.has_stack else say("path.database_untested")
    return Step("database", link if session.has_stack else "/connection", is_done=False, said=said)


def _tab(draft: Draft) -> Step:
    if not draft.faults:
        return Step("tab", "/tab", is_done=True, said=say("tab.complete"))
    more = len(draft.faults) - 1
    said = draft.faults[0] + (f" {say('path.more', number=f'{more:,}')}" if more else "")
    return Step("tab", "/tab", is_done=False, said=said)


def _test(known: Known, session: Session) -> Step:
    if session.tested:
        return Step("test", "/connection", session.connected, session.message)
    if known.last is not None:
        return Step("test", "/connection", is_done=True, said=say("path.test_done"))
    return Step("test", "/connection", is_done=False, said=say("path.test_missing"))


def _compare(session: Session, *, has_sent: bool, has_all: bool) -> Step:
    if session.to_tick and session.ticked == session.to_tick:
        return Step(
            "compare", "/compare", is_done=True, said=say("path.compare_done", number=f"{session.ticked:,}")
        )
    if has_all:
        # Ticks are kept in memory only: who has sent everything has compared before.
        return Step("compare", "/compare", is_done=True, said=say("path.compare_before"))
    said = say("path.compare_missing") if has_sent else say("path.compare_later")
    return Step("compare", "/compare", is_done=False, said=said)


def _switch(known: Known, session: Session, draft: Draft) -> Step:
    if not session.has_stack:
        return Step("switch", "/tab", is_done=False, said=say("path.switch_no_stack"))
    if not known.is_scheduled:
        return Step("switch", "/switch", is_done=False, said=say("path.switch_schedules"))
    if not draft.uses_dhis2:
        return Step("switch", "/switch", is_done=False, said=say("path.switch_missing"))
    return Step("switch", "/switch", is_done=True, said=say("path.switch_done"))


# What has to be done ----------------------------------------------------------------------------------------


def _tasks(known: Known, session: Session, draft: Draft, now: datetime) -> list[Task]:
    """Return what somebody has to do, the most important first."""
    zone = ZoneInfo(str(now.tzinfo))
    found: list[Task] = []
    if known.breaker is not None and known.breaker.state is not BreakerState.CLOSED:
        key = cure_of(known.breaker)
        link = {"login": "/tab#login", "by_hand": "/runs", "down": "/connection"}[key]
        found.append(Task(f"{why_paused(known.breaker, zone)} {say('cure.' + key)}", link))
    if draft.faults and draft.uses_dhis2:
        found.append(Task(say("task.faults", number=f"{len(draft.faults):,}"), "/tab"))
    if session.tested and not session.connected:
        found.append(Task(say("task.no_connection", message=session.message), "/connection"))
    if known.not_delivered:
        found.append(Task(_not_delivered(known), "/not-delivered"))
    found += [_overdue_task(each, zone) for each in overdue_intervals(known, draft.settings, now)]
    found += [
        Task(said, link_of(run.run_id))
        for run in known.stack_runs
        if (said := _of_unfinished(run, now, zone))
    ]
    # Of several runs of the same only the last one counts.
    for run in {run.what: run for run in reversed(known.runs)}.values():
        if not run.is_well and run.outcome:
            found.append(
                Task(say("task.run", run=run.what, outcome=run.outcome, said=run.said), run.link or "/push")
            )
    if session.connected and session.wrong_checks:
        found.append(Task(say("task.checks", checks=count(session.wrong_checks, "check")), "/connection"))
    return found


def overdue_intervals(known: Known, settings: Settings, now: datetime) -> Sequence[Overdue]:
    """Return the intervals whose run did not take place when it was due, as the watchdog judges."""
    if known.settled_since is None or not known.is_scheduled or settings.use_dhis2 is False:
        return ()
    due = {}
    for interval in sorted({row.interval for row in settings.active_rows if row.interval in known.schedules}):
        try:
            schedule = parse_schedule(known.schedules[interval], ZoneInfo(str(now.tzinfo)))
        except ScheduleError:
            # The watchdog tells that itself.
            continue
        if (instant := due_instant(schedule, known.settled_since, now)) is not None:
            due[interval] = instant
    return overdue(due, known.stack_runs, settings)


def _overdue_task(missing: Overdue, zone: ZoneInfo) -> Task:
    name, when = choice_in_words(missing.interval.value), written_in(missing.due, zone)
    return Task(say("task.overdue", interval=name, time=when), "/push")


def _of_unfinished(run: Run, now: datetime, zone: ZoneInfo) -> str:
    if (
        run.ended_at is not None
        or run.is_done
        or run.started_at is None
        or now - run.started_at < COMPUTED_WITHIN
    ):
        return ""
    values = count(run.counts.waiting, "value")
    return say("task.unfinished", time=written_in(run.started_at, zone), values=values)


def cure_of(breaker: Breaker) -> str:
    """Return the key of what there is to do while sending is paused."""
    return {BreakerState.LOGIN_REFUSED: "login", BreakerState.BY_HAND: "by_hand"}.get(breaker.state, "down")


def why_paused(breaker: Breaker, zone: ZoneInfo) -> str:
    """Return since when sending is paused, and why; empty where it is not."""
    if breaker.state is BreakerState.CLOSED or breaker.since is None:
        return ""
    why = {
        BreakerState.LOGIN_REFUSED: say("paused.why_login"),
        BreakerState.DHIS2_DOWN: say("paused.why_down", message=breaker.message),
        BreakerState.HALF_OPEN: say("paused.why_trial"),
        BreakerState.BY_HAND: say("paused.why_hand", message=breaker.message),
    }[breaker.state]
    return say("paused.since", time=written_in(breaker.since, zone), why=why)


# What there is ----------------------------------------------------------------------------------------------


def _intervals(known: Known, settings: Settings, now: datetime) -> list[IntervalLine]:
    is_on = known.is_scheduled and settings.use_dhis2 is not False
    lines = []
    for interval, expression in known.schedules.items():
        rows = [row for row in settings.active_rows if row.interval is interval]
        if not rows:
            continue
        due = schedules.next_due(expression, now) if is_on else None
        last = next((run for run in known.runs if run.started_by == interval.value), None)
        lines.append(
            IntervalLine(
                choice_in_words(interval.value),
                ", ".join(dict.fromkeys(row.metric.label for row in rows if row.metric)),
                schedules.in_words(expression),
                last,
                schedules.day_in_words(due) if due else "" if is_on else say("today.off"),
            )
        )
    return lines


def first_due(known: Known, settings: Settings, now: datetime) -> tuple[datetime, Interval] | None:
    """Return when the first schedule runs that has active rows, and which it is."""
    intervals = {row.interval for row in settings.active_rows}
    due = [
        (instant, interval)
        for interval, each in known.schedules.items()
        if interval in intervals and (instant := schedules.next_due(each, now)) is not None
    ]
    return min(due, default=None)


def _waiting(known: Known) -> str:
    if known.waiting is None:
        return ""
    values = sum(run.counts.waiting for run in known.stack_runs)
    return (
        say("today.waiting", values=count(values, "value"))
        if values or known.waiting
        else say("today.nothing_waits")
    )


def _not_delivered(known: Known) -> str:
    if not known.not_delivered:
        return ""
    values = sum(run.counts.dead for run in known.stack_runs)
    return say("today.not_delivered", values=count(values, "value"))


def run_of_stack(run: Run) -> PushRun:
    """Return a run as the page shows it."""
    counts = {name: number for name in OUTCOMES if (number := getattr(run.counts, name, 0))}
    return PushRun(
        began=run.started_at,
        started_by=run.started_by,
        what=say("today.manual") if run.started_by == "manual" else choice_in_words(run.started_by),
        of_all=is_of_all(run.event),
        outcome=say(f"ended.{run.outcome.name.lower()}") if run.outcome else say("ended.not_yet"),
        is_well=run.outcome in {None, Outcome.COMPLETE},
        counts=counts,
        said=said_of(counts),
        link=link_of(run.run_id),
    )


def link_of(run_id: str) -> str:
    """Return the address of a run's page."""
    return f"/runs/{quote(run_id, safe='')}"


def said_of(counts: Mapping[str, int]) -> str:
    """Return counts as a sum in words: "5 values: 4 stored, 1 rejected"."""
    parts = ", ".join(f"{number:,} {say('sum.' + name)}" for name, number in counts.items() if number)
    return (
        say("today.sum", values=count(sum(counts.values()), "value"), parts=parts)
        if parts
        else say("today.no_values")
    )


def is_of_all(event: str) -> bool:
    """Return whether a run asked for all stores and items of what it was about."""
    asked = parse_noted_event(event)
    return asked is not None and not (asked.stores or asked.items or asked.metrics or asked.months)
