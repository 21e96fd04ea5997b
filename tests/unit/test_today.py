"""What the first page says: the path, what has to be done, when schedules are due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cli.console import schedules
from cli.console.tab import Draft
from cli.console.today import Known, Remembered, Session, make_today, run_of_stack
from msupply_dhis2.periods import Interval
from msupply_dhis2.state.breaker import Breaker
from msupply_dhis2.state.breaker import State as BreakerState
from msupply_dhis2.state.run import Counts, Outcome, Run
from tests.support.paths import PROJECT

ZONE = ZoneInfo("Pacific/Auckland")
NOW = datetime(2026, 11, 9, 11, 0, tzinfo=ZONE)
SAMPLE = (PROJECT / "settings.yaml").read_text(encoding="utf-8")
ON, OFF = Draft(SAMPLE.replace("use_dhis2: false", "use_dhis2: true")), Draft(SAMPLE)
SCHEDULES = {
    Interval.MONTHLY: "cron(30 4 5 * ? *)",
    Interval.WEEKLY: "cron(0 4 ? * MON *)",
    Interval.DAILY: "cron(30 3 * * ? *)",
}
STACK, LOCAL = Session(has_stack=True), Session(has_stack=False)
LAST = Remembered(NOW, "pusher")


def run(event: str, started_by: str = "manual", days: float = 0, **counts: int) -> Run:
    began = NOW - timedelta(days=days)
    queued = Counts(queued=sum(counts.values()), **counts)
    kept = Run("r", started_by, began, event, started_at=began, counts=queued)
    return kept if queued.waiting else replace(kept, outcome=kept.outcome_by_counts, ended_at=began)


ONE = run('{"manual": true, "stores": ["Kamo"]}', stored=4, unchanged=1)
ALL = run('{"manual": true}', stored=40)
DAILY = run('{"interval": "daily"}', "daily", days=0.3, stored=9)


def known(*runs: Run, **others: object) -> Known:
    told = {"schedules": SCHEDULES, "is_scheduled": True, "last": LAST, **others}
    return Known(runs=[run_of_stack(each) for each in runs], stack_runs=runs, **told)  # type: ignore[arg-type]


def done(today_known: Known, session: Session = STACK, draft: Draft = ON) -> set[str]:
    return {step.name for step in make_today(today_known, session, draft, NOW).steps if step.is_done}


@pytest.mark.parametrize(
    ("told", "session", "draft", "expected"),
    [
        (Known(), STACK, Draft("use_dhis2: false"), set()),
        (Known(), STACK, OFF, {"tab"}),
        (known(), STACK, OFF, {"tab", "test"}),
        (known(), replace(STACK, tested=True, message="Authentication failed"), OFF, {"tab", "database"}),
        (known(), replace(STACK, has_preview=True), OFF, {"tab", "test", "database", "preview"}),
        (known(ONE), STACK, OFF, {"tab", "test", "database", "preview", "store"}),
        (
            known(ONE),
            replace(STACK, ticked=3, to_tick=3),
            OFF,
            {"tab", "test", "database", "preview", "store", "compare"},
        ),
    ],
    ids=["nothing", "tab", "tested", "refused", "previewed", "one store", "compared"],
)
def test_path(told: Known, session: Session, draft: Draft, expected: set[str]) -> None:
    assert done(told, session, draft) == expected


def test_path_ends() -> None:
    today = make_today(known(ALL, ONE), STACK, ON, NOW)
    assert today.is_begun
    assert not make_today(known(ALL, ONE), STACK, OFF, NOW).is_begun
    assert not make_today(known(ALL, ONE, is_scheduled=False), STACK, ON, NOW).is_begun
    # Nothing but a stack sends by itself.
    assert "switch" not in done(known(ALL), LOCAL)


def test_rejected_is_not_sent() -> None:
    assert "store" not in done(known(run('{"manual": true, "stores": ["Kamo"]}', rejected=5)))


def test_sums_add_up() -> None:
    (line,) = make_today(known(ONE), STACK, ON, NOW).runs
    assert line.said == "5 values: 4 stored, 1 unchanged"
    assert line.all == sum(line.counts.values()) == 5


@pytest.mark.parametrize(
    ("expression", "words", "next_time"),
    [
        ("cron(30 4 5 * ? *)", "on the 5th, 04:30", "5 December, 04:30"),
        ("cron(0 4 ? * MON *)", "on Monday, 04:00", "16 November, 04:00"),
        ("cron(0 4 ? * 2 *)", "on Monday, 04:00", "16 November, 04:00"),
        ("cron(30 3 * * ? *)", "every day, 03:30", "10 November, 03:30"),
        ("cron(0 12 * * ? *)", "every day, 12:00", "9 November, 12:00"),
        ("cron(30 22 L * ? *)", "on the last day of the month, 22:30", "30 November, 22:30"),
        ("cron(0 3 1 * ? *)", "on the 1st, 03:00", "1 December, 03:00"),
        ("cron(0/5 * * * ? *)", "cron(0/5 * * * ? *)", "9 November, 11:05"),
        ("cron(0 3 29 2 ? *)", "cron(0 3 29 2 ? *)", "29 February, 03:00"),
    ],
)
def test_schedule(expression: str, words: str, next_time: str) -> None:
    assert schedules.in_words(expression) == words
    due = schedules.next_due(expression, NOW)
    assert due is not None
    assert schedules.day_in_words(due) == next_time


@pytest.mark.parametrize("expression", ["rate(1 hour)", "cron(0 3 1W * ? *)", "at(2020-01-01T00:00:00)"])
def test_next_is_not_known(expression: str) -> None:
    assert schedules.next_due(expression, NOW) is None


def test_interval_with_its_last_run() -> None:
    lines = {line.name: line for line in make_today(known(ALL, DAILY), STACK, ON, NOW).intervals}
    # The sample has no weekly row.
    assert set(lines) == {"monthly", "daily"}
    assert lines["daily"].last is not None
    assert lines["daily"].last.said == "9 values: 9 stored"
    assert (lines["monthly"].last, lines["monthly"].next) == (None, "5 December, 04:30")
    assert make_today(known(), STACK, OFF, NOW).intervals[0].next == "not while sending is off"


def paused(state: BreakerState) -> Known:
    return known(ALL, DAILY, breaker=Breaker(state=state, message="why", since=NOW))


OLD = NOW - timedelta(days=90)
UNFINISHED = replace(run('{"manual": true}', days=2, waiting=7), parts_open=0)


@pytest.mark.parametrize(
    ("told", "session", "said", "link"),
    [
        (paused(BreakerState.LOGIN_REFUSED), STACK, "because DHIS2 refuses the login", "/tab#login"),
        (paused(BreakerState.DHIS2_DOWN), STACK, "because DHIS2 does not answer (why)", "/connection"),
        (paused(BreakerState.BY_HAND), STACK, "because somebody paused it (why)", "/runs"),
        (known(ALL, not_delivered=2), STACK, "could not be delivered to DHIS2", "/not-delivered"),
        (known(UNFINISHED), STACK, "has not ended: 7 values of it wait", "/runs/r"),
        (known(ONE, settled_since=OLD), STACK, "The run of the interval daily of 2026-11-09 03:30", "/push"),
        (
            known(run('{"manual": true}', stored=1, rejected=2)),
            STACK,
            "(manual) ended with rejections",
            "/runs/r",
        ),
        (
            known(),
            replace(STACK, tested=True, message="No answer"),
            "at the last test: No answer",
            "/connection",
        ),
        (
            known(),
            replace(STACK, tested=True, connected=True, wrong_checks=2),
            "found 2 checks not well",
            "/connection",
        ),
    ],
    ids=[
        "login",
        "down",
        "by hand",
        "not delivered",
        "unfinished",
        "overdue",
        "rejected",
        "no connection",
        "checks",
    ],
)
def test_to_do(told: Known, session: Session, said: str, link: str) -> None:
    assert any(said in task.said and task.link == link for task in make_today(told, session, ON, NOW).tasks)


def test_nothing_to_do() -> None:
    monthly = run('{"interval": "monthly"}', "monthly", days=4, stored=3)
    assert not make_today(known(DAILY, ALL, monthly, settled_since=OLD), STACK, ON, NOW).tasks


def test_a_better_run_settles_it() -> None:
    worse = run('{"manual": true}', days=1, stored=1, rejected=2)
    assert not make_today(known(ALL, worse), STACK, ON, NOW).tasks
    assert worse.outcome is Outcome.WITH_REJECTIONS


def test_what_could_not_be_read_is_not_judged() -> None:
    assert not make_today(known(settled_since=None), STACK, ON, NOW.astimezone(UTC)).tasks
