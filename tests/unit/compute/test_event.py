"""What compute can be asked to do."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from msupply_dhis2.compute.event import (
    BasisChoice,
    ComputeEvent,
    instant_of_run,
    parse_compute_event,
    run_id,
    written_months,
)
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Basis, Calendar, Interval

AUCKLAND = Calendar(ZoneInfo("Pacific/Auckland"))
NOW = datetime(2026, 2, 1, 1, 0, 5, 123456, tzinfo=UTC)


def test_schedule_time_zone() -> None:
    event = parse_compute_event({"interval": "monthly", "scheduled_time": "2026-01-31T11:05:00Z"})
    as_of = instant_of_run(event, NOW, AUCKLAND)
    assert event.interval is Interval.MONTHLY
    assert as_of.isoformat() == "2026-02-01T00:05:00+13:00"


def test_manual_push_basis() -> None:
    event = parse_compute_event({"manual": True})
    assert event.basis_choice.of_row(Basis.PREVIOUS_MONTH) is Basis.CURRENT_DAY
    assert instant_of_run(event, NOW, AUCKLAND) == NOW


def test_schedule_row_basis() -> None:
    plain = parse_compute_event({"interval": "daily"})
    named = parse_compute_event({"interval": "daily", "basis": "current_day"})
    assert plain.basis_choice is BasisChoice.AS_IN_SETTINGS
    assert plain.basis_choice.of_row(Basis.PREVIOUS_MONTH) is Basis.PREVIOUS_MONTH
    assert named.basis_choice.of_row(Basis.PREVIOUS_MONTH) is Basis.CURRENT_DAY


@pytest.mark.parametrize(
    ("as_of", "instant"),
    [
        ("2025-05-01", "2025-05-01T00:00:00+12:00"),
        ("2025-05-01T00:30", "2025-05-01T00:30:00+12:00"),
        ("2025-05-01T00:30:00Z", "2025-05-01T12:30:00+12:00"),
        # The clock skips this hour, and shows the next one twice: as the times in a database are read.
        ("2025-09-28T02:30", "2025-09-28T03:00:00+13:00"),
        ("2025-04-06T02:30", "2025-04-06T02:30:00+13:00"),
        ("2025-09-28T02:30+12:00", "2025-09-28T03:30:00+13:00"),
    ],
)
def test_as_of_forms(as_of: str, instant: str) -> None:
    event = parse_compute_event({"manual": True, "as_of": as_of})
    assert instant_of_run(event, NOW, AUCKLAND).isoformat() == instant


def test_skipped_midnight() -> None:
    event = parse_compute_event({"manual": True, "as_of": "2018-11-04"})
    as_of = instant_of_run(event, NOW, Calendar(ZoneInfo("America/Sao_Paulo")))
    assert as_of.isoformat() == "2018-11-04T01:00:00-02:00"


@pytest.mark.parametrize(
    ("event", "names"),
    [
        ("monthly", "JSON object"),
        ({}, "exactly one of interval, manual, export and check_database"),
        ({"manual": True, "export": "values"}, "exactly one of"),
        ({"export": "all"}, "export is 'all'. It takes one of: values, mapping."),
        (
            {"export": "values", "dry_run": True, "full": True},
            'dry_run, full: not with "export": "values", which sends nothing. Leave it out.',
        ),
        (
            {"export": "mapping", "stores": ["Kamo"]},
            'stores: not with "export": "mapping", which sends nothing and holds all stores and items. Leave it out.',
        ),
        ({"export": "values", "months": "2025-01", "basis": "current_day"}, "basis: "),
        ({"manual": True, "interval": "daily"}, "exactly one of"),
        ({"interval": "hourly"}, "interval is 'hourly'. It takes one of: monthly, weekly, daily"),
        ({"manual": True, "metric": "issued"}, "metric is not a field. Did you mean metrics?"),
        (
            {"manual": True, "metrics": ["issued", "stock"]},
            "one of metrics is 'stock'. Did you mean stocked_out? It takes one of: stock_on",
        ),
        (
            {"manual": True, "metrics": "the amount of stock recieved"},
            "one of metrics is 'the amount of stock recieved'. Did you mean received?",
        ),
        ({"manual": True, "stores": []}, "stores is empty"),
        ({"manual": True, "stores": [""]}, "one of stores is empty. Write it, or leave the field out."),
        (
            {"manual": True, "stores": 7},
            "one of stores is 7, but must be a text. Write a single text in quotes.",
        ),
        ({"manual": True, "items": [7]}, "one of items is 7, but must be a text"),
        ({"manual": "maybe"}, "manual is 'maybe'. Write true or false."),
        ({"manual": True, "as_of": 2026}, "as_of is 2026, but must be a text"),
        (
            {"interval": "monthly", "scheduled_time": "soon"},
            "scheduled_time is not a time. Write a date and a time",
        ),
        ({"manual": True, "zzz": True}, "confirm_deletions, while_off. Correct its name, or take it out."),
        ({"manual": True, "dryrun": True}, "Did you mean dry_run?"),
        ({"interval": "montly"}, "Did you mean monthly?"),
        ({"manual": True, "Manual": False}, "Manual is not a field. Did you mean manual?"),
        (
            {"interval": "daily", "scheduled_time": "<aws.scheduler.scheduled-time>"},
            "scheduled_time is still <aws.scheduler.scheduled-time>: EventBridge Scheduler replaces",
        ),
    ],
)
def test_unknown_field_is_named(event: object, names: str) -> None:
    with pytest.raises(EventError) as refused:
        parse_compute_event(event)
    assert names in str(refused.value)


@pytest.mark.parametrize(
    "as_of", ["yesterday", "2026-13-01", "2062-05-01", "2026-02-02", "0001-01-01T00:00+14:00", "1970-01-01"]
)
def test_bad_as_of_refused(as_of: str) -> None:
    event = parse_compute_event({"manual": True, "as_of": as_of})
    with pytest.raises(EventError, match="as_of"):
        instant_of_run(event, NOW, AUCKLAND)


def test_name_without_brackets() -> None:
    event = parse_compute_event({"manual": True, "metrics": "issued", "stores": "Kamo"})
    assert event.metrics == (Metric.ISSUED,)
    assert parse_compute_event({"manual": True, "metrics": ["Stock on hand"]}).metrics == (
        Metric.STOCK_ON_HAND,
    )
    assert event.stores == ("Kamo",)


def test_capitals_and_blanks() -> None:
    written = {
        "Manual": "Yes",
        "Basis": "As in settings",
        "DRY RUN": True,
        "metrics": ["AMC", "Stock on hand"],
    }
    meant = {
        "manual": True,
        "basis": "as_in_settings",
        "dry_run": True,
        "metrics": ["average_monthly_consumption", "stock_on_hand"],
    }
    assert parse_compute_event(written) == parse_compute_event(meant)
    assert run_id(parse_compute_event(written), NOW) == run_id(parse_compute_event(meant), NOW)


def test_run_identity() -> None:
    event = parse_compute_event({"interval": "monthly", "scheduled_time": "2026-02-01T01:00:00Z"})
    again = parse_compute_event({"interval": "monthly", "scheduled_time": "2026-02-01T01:00:00+00:00"})
    name = run_id(event, NOW)
    assert name.startswith("20260201T010005Z-monthly-")
    assert run_id(again, NOW.astimezone(ZoneInfo("Asia/Kabul"))) == name
    others = [
        run_id(event, NOW.replace(microsecond=0)),
        run_id(event.model_copy(update={"dry_run": True}), NOW),
        run_id(ComputeEvent(interval=Interval.MONTHLY, metrics=(Metric.ISSUED,)), NOW),
        run_id(ComputeEvent(manual=True), NOW),
    ]
    assert len({name, *others}) == 5


# Months


def test_months_basis() -> None:
    event = parse_compute_event({"manual": True, "months": "2025-01..2025-12"})
    assert written_months(event.months or ()) == "2025-01..2025-12"
    assert event.basis_choice is BasisChoice.AS_IN_SETTINGS
    named = parse_compute_event({"manual": True, "months": "2025-01", "basis": "previous_month"})
    assert named.basis_choice.of_row(Basis.CURRENT_DAY) is Basis.PREVIOUS_MONTH


def test_months_round_trip() -> None:
    event = parse_compute_event({"manual": True, "months": "2025-01..2025-12"})
    assert ComputeEvent.model_validate_json(event.model_dump_json()) == event


def test_months_change_the_run() -> None:
    events = [
        parse_compute_event({"manual": True, **months})
        for months in ({}, {"months": "2025-01"}, {"months": "2025-01..2025-02"})
    ]
    assert len({run_id(event, NOW) for event in events}) == 3


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"interval": "monthly", "while_off": True}, "while_off: only a manual event has it"),
        ({"interval": "monthly", "months": "2025-01"}, "months: only a manual event has them"),
        ({"manual": True, "months": "2025-01", "basis": "current_day"}, "basis: a month that is over has no"),
        (
            {"manual": True, "months": "2025-01", "as_of": "2025-02-01"},
            "as_of: each month has its own instant",
        ),
        (
            {"manual": True, "months": ["2025-01"]},
            "is neither a month nor a range of months: write 2025-01, or",
        ),
        ({"manual": True, "months": "2025-02..2025-01"}, "months: '2025-02..2025-01' ends before it begins"),
    ],
)
def test_bad_months_refused(event: dict[str, object], says: str) -> None:
    with pytest.raises(EventError) as refused:
        parse_compute_event(event)
    assert says in str(refused.value)


def test_months_of_long_ago() -> None:
    with pytest.raises(EventError) as refused:
        parse_compute_event({"manual": True, "months": "0205-01"})
    assert str(refused.value).startswith("months: '0205-01' lies before the year 2000: is the year right?\n")
