"""When a schedule was due last, which intervals are overdue, and what is said of runs that do not end."""

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.periods import Interval
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.state.run import Counts, Outcome, Part, Run, event_of
from msupply_dhis2.watchdog.runs import (
    GRACE,
    ScheduleError,
    covers,
    due_instant,
    overdue,
    parse_schedule,
    why_unfinished,
)
from sandbox.tools import PROJECT

AUCKLAND = ZoneInfo("Pacific/Auckland")
# A Tuesday.
NOW = datetime(2026, 11, 24, 10, 0, tzinfo=AUCKLAND)


def last(expression: str, before: datetime = NOW) -> str | None:
    due = parse_schedule(expression, AUCKLAND)(before)
    return None if due is None else f"{due.astimezone(AUCKLAND):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("cron(30 4 5 * ? *)", "2026-11-05 04:30"),
        ("cron(0 4 ? * MON *)", "2026-11-23 04:00"),
        ("cron(30 3 * * ? *)", "2026-11-24 03:30"),
        ("cron(0 3 1 * ? *)", "2026-11-01 03:00"),
        ("cron(30 22 L * ? *)", "2026-10-31 22:30"),
        # AWS counts the days of the week from 1, Sunday.
        ("cron(0 4 ? * 1 *)", "2026-11-22 04:00"),
        ("cron(0 4 ? * 2-6 *)", "2026-11-24 04:00"),
        ("cron(0 4 ? * 7,1 *)", "2026-11-22 04:00"),
        ("cron(0 4 ? * 2#1 *)", "2026-11-02 04:00"),
        ("cron(0 4 ? * 6L *)", "2026-10-30 04:00"),
        ("cron(0 4 ? * sat *)", "2026-11-21 04:00"),
        ("cron(0/20 * * * ? *)", "2026-11-24 09:40"),
        ("cron(0 4 1 1,7 ? *)", "2026-07-01 04:00"),
        ("cron(0 4 1 * ? 2024-2025)", "2025-12-01 04:00"),
        ("cron(0 4 1 * ? 2030)", None),
        ("rate(12 hours)", "2026-11-23 22:00"),
        ("rate(1 day)", "2026-11-23 10:00"),
        ("at(2026-11-20T04:00:00)", "2026-11-20 04:00"),
        ("at(2026-12-20T04:00:00)", None),
        # The clock skips it: the instant at which it was put forward.
        ("at(2026-09-27T02:30:00)", "2026-09-27 03:00"),
    ],
)
def test_last_due(expression: str, due: str | None) -> None:
    assert last(expression) == due


@pytest.mark.parametrize(
    "expression",
    ["daily", "cron(0 4 * *)", "cron(0 25 * * ? *)", "cron(0 4 15W * ? *)", "rate(3 weeks)", "at(soon)", ""],
)
def test_not_a_schedule(expression: str) -> None:
    with pytest.raises(ScheduleError, match=r".+"):
        parse_schedule(expression, AUCKLAND)


SOME_DAY = datetime(2020, 1, 1, tzinfo=UTC)


@given(
    st.sampled_from(
        ["cron(30 3 * * ? *)", "cron(0 4 ? * MON *)", "cron(30 22 L * ? *)", "cron(30 4 5 * ? *)"]
    ),
    st.integers(0, 15 * 366 * 24 * 60).map(lambda minutes: SOME_DAY + timedelta(minutes=minutes)),
)
def test_due_before_instant(expression: str, before: datetime) -> None:
    schedule = parse_schedule(expression, AUCKLAND)
    due = schedule(before)
    assert due is not None
    assert due < before
    assert schedule(due + timedelta(seconds=1)) == due
    earlier = schedule(due)
    assert earlier is not None
    assert earlier < due


# ------------------------------------------------------------------------------------------------- overdue


def settings(**changes: object) -> Settings:
    document: dict[str, Any] = json.loads(
        parse_settings((PROJECT / "settings.yaml").read_text(encoding="utf-8")).compact()
    )
    return parse_settings(json.dumps(document | {"use_dhis2": True} | changes))


SETTINGS = settings()
(INTERVAL, *_) = sorted({row.interval for row in SETTINGS.active_rows})


def a_run(as_of: datetime, **event: object) -> Run:
    asked = parse_compute_event(event or {"interval": INTERVAL.value})
    return Run(
        run_id="20261124T030000Z-run-12345678",
        started_by=asked.started_by,
        as_of=as_of,
        event=asked.model_dump_json(exclude_defaults=True),
        started_at=as_of,
        counts=Counts(),
        batches=0,
        computed=Part(),
        parts_open=0,
        parts_failed=0,
        ended_at=as_of,
        outcome=Outcome.COMPLETE,
    )


DAILY = parse_schedule("cron(30 3 * * ? *)", AUCKLAND)
DUE = datetime(2026, 11, 24, 3, 30, tzinfo=AUCKLAND)
LONG_AGO = NOW - timedelta(days=100)


def test_late_run() -> None:
    assert due_instant(DAILY, LONG_AGO, DUE + GRACE + timedelta(minutes=1)) == DUE
    assert due_instant(DAILY, LONG_AGO, DUE + GRACE - timedelta(minutes=1)) == DUE - timedelta(days=1)


def test_before_the_watchdog() -> None:
    assert due_instant(DAILY, DUE + timedelta(minutes=1), NOW) is None


def test_overdue() -> None:
    due = {INTERVAL: DUE}
    assert overdue(due, [a_run(DUE), a_run(LONG_AGO)], SETTINGS) == ()
    before = a_run(DUE - timedelta(days=1))
    (missing,) = overdue(due, [a_run(LONG_AGO), before], SETTINGS)
    assert (missing.interval, missing.due, missing.last_run) == (INTERVAL, DUE, before)
    (missing,) = overdue(due, [], SETTINGS)
    assert missing.last_run is None


def test_failed_run() -> None:
    failed = replace(a_run(DUE), outcome=Outcome.FAILED)
    (missing,) = overdue({INTERVAL: DUE}, [failed], SETTINGS)
    assert missing.last_run is None


@pytest.mark.parametrize(
    ("event", "stands_for_it"),
    [
        ({"interval": INTERVAL.value}, True),
        ({"manual": True, "basis": "as_in_settings"}, True),
        ({"manual": True, "basis": "as_in_settings", "full": True}, True),
        ({"manual": True, "basis": "as_in_settings", "stores": ["KAMO"]}, False),
        ({"manual": True, "basis": "as_in_settings", "items": ["amo"]}, False),
        ({"manual": True, "basis": "as_in_settings", "metrics": ["stock_on_hand"]}, False),
        ({"manual": True, "months": "2025-01..2025-12"}, False),
        ({"interval": next(each.value for each in Interval if each is not INTERVAL)}, False),
    ],
)
def test_whole_interval(event: dict[str, object], *, stands_for_it: bool) -> None:
    assert covers(a_run(DUE, **event), INTERVAL, SETTINGS) == stands_for_it


def test_other_version() -> None:
    for event in ("", "[]", '{"unheard_of": true}'):
        assert not covers(replace(a_run(DUE), event=event), INTERVAL, SETTINGS)


# ---------------------------------------------------------------------------------------------- unfinished


def open_run(age: timedelta, **changes: Any) -> Run:  # noqa: ANN401 - whatever fields a run has
    return replace(a_run(NOW - age), ended_at=None, outcome=None, **changes)


WAITING = Counts(queued=5, waiting=3, stored=2)


@pytest.mark.parametrize(
    "run",
    [
        open_run(timedelta(hours=23), counts=WAITING),
        open_run(timedelta(hours=23), parts_open=1),
        replace(open_run(timedelta(days=5), counts=WAITING), started_at=None),
    ],
    ids=["young", "young and computed", "known to push only"],
)
def test_young_run(run: Run) -> None:
    assert why_unfinished(run, NOW, AUCKLAND) is None


def test_waiting_values() -> None:
    said = why_unfinished(open_run(timedelta(days=2), counts=WAITING), NOW, AUCKLAND)
    assert said is not None
    assert "3 values of it wait to be sent" in said
    assert "2026-11-22 10:00 (Pacific/Auckland)" in said
    assert "make test-connection" in said
    assert "lost" not in said


def test_lost_values() -> None:
    said = why_unfinished(open_run(timedelta(days=13), counts=WAITING), NOW, AUCKLAND)
    assert said is not None
    assert "They are lost, unless" in said


def test_uncomputed_run() -> None:
    said = why_unfinished(
        open_run(timedelta(days=2), parts_open=2, message="The database is away."), NOW, AUCKLAND
    )
    assert said is not None
    assert "2 parts of it could not be computed yet: The database is away." in said
    event = said.partition("make push EVENT='")[2].removesuffix("'")
    assert parse_compute_event(json.loads(event)).interval is INTERVAL


def test_same_instant_again() -> None:
    manual = json.loads(event_of(a_run(DUE, manual=True, stores=["KAMO"])))
    assert manual == {"manual": True, "stores": ["KAMO"], "as_of": "2026-11-24T03:30:00+13:00"}
    scheduled = {"interval": INTERVAL.value, "scheduled_time": "2026-11-23T14:30:00Z"}
    assert json.loads(event_of(a_run(DUE, **scheduled))) == scheduled
    months = {"manual": True, "months": "2025-01..2025-12"}
    assert json.loads(event_of(a_run(DUE, **months))) == months


def test_command_quoting() -> None:
    stores = ["St. Mary's", 'Größe $5 "x" \\']
    run = replace(
        open_run(timedelta(days=2), parts_open=1), event=a_run(DUE, manual=True, stores=stores).event
    )
    said = why_unfinished(run, NOW, AUCKLAND)
    assert said is not None
    make, push, setting = shlex.split(said[said.index("make push") :])
    assert (make, push) == ("make", "push")
    assert json.loads(setting.removeprefix("EVENT="))["stores"] == stores
