"""DHIS2's periods as the stand-in reads them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.dhis2 import ADMIN, Metadata, Version
from sandbox.dhis2.importer import Server
from sandbox.dhis2.periods import PERIOD_TYPES, latest_open_period, parse_period, period_of
from sandbox.dhis2.values import ValueStore


@pytest.mark.parametrize(
    ("text", "period_type", "first", "last"),
    [
        ("20260105", "Daily", date(2026, 1, 5), date(2026, 1, 5)),
        ("2026-01-05", "Daily", date(2026, 1, 5), date(2026, 1, 5)),
        ("2026W1", "Weekly", date(2025, 12, 29), date(2026, 1, 4)),
        ("2026W53", "Weekly", date(2026, 12, 28), date(2027, 1, 3)),
        ("2026WedW5", "WeeklyWednesday", date(2026, 1, 28), date(2026, 2, 3)),
        ("2026FriW5", "WeeklyFriday", date(2026, 1, 30), date(2026, 2, 5)),
        ("2026SunW1", "WeeklySunday", date(2026, 1, 4), date(2026, 1, 10)),
        ("2026BiW1", "BiWeekly", date(2025, 12, 29), date(2026, 1, 11)),
        ("2026BiW27", "BiWeekly", date(2026, 12, 28), date(2027, 1, 10)),
        ("202602", "Monthly", date(2026, 2, 1), date(2026, 2, 28)),
        ("2026-02", "Monthly", date(2026, 2, 1), date(2026, 2, 28)),
        ("202602B", "BiMonthly", date(2026, 3, 1), date(2026, 4, 30)),
        ("2026Q4", "Quarterly", date(2026, 10, 1), date(2026, 12, 31)),
        ("2026NovQ1", "QuarterlyNov", date(2025, 11, 1), date(2026, 1, 31)),
        ("2026NovQ4", "QuarterlyNov", date(2026, 8, 1), date(2026, 10, 31)),
        ("2026S2", "SixMonthly", date(2026, 7, 1), date(2026, 12, 31)),
        ("2026AprilS2", "SixMonthlyApril", date(2026, 10, 1), date(2027, 3, 31)),
        ("2026NovS1", "SixMonthlyNov", date(2025, 11, 1), date(2026, 4, 30)),
        ("2026NovS2", "SixMonthlyNov", date(2026, 5, 1), date(2026, 10, 31)),
        ("2026", "Yearly", date(2026, 1, 1), date(2026, 12, 31)),
        ("2026April", "FinancialApril", date(2026, 4, 1), date(2027, 3, 31)),
        ("2026July", "FinancialJuly", date(2026, 7, 1), date(2027, 6, 30)),
        ("2026Feb", "FinancialFeb", date(2026, 2, 1), date(2027, 1, 31)),
        ("2026Aug", "FinancialAug", date(2026, 8, 1), date(2027, 7, 31)),
        ("2026Sep", "FinancialSep", date(2026, 9, 1), date(2027, 8, 31)),
        ("2026Oct", "FinancialOct", date(2026, 10, 1), date(2027, 9, 30)),
    ],
)
def test_notation_days(text: str, period_type: str, first: date, last: date) -> None:
    period = parse_period(text)
    assert period is not None
    assert (period.period_type, period.first, period.last) == (period_type, first, last)


@pytest.mark.parametrize(
    "text", ["2026-13", "202613", "2026W54", "2025W53", "20260230", "2026Q5", "202607B", "", "x"]
)
def test_impossible_period(text: str) -> None:
    assert parse_period(text) is None


@given(st.sampled_from(PERIOD_TYPES), st.dates(min_value=date(1990, 1, 1), max_value=date(2060, 12, 31)))
def test_periods_adjoin(period_type: str, day: date) -> None:
    period = period_of(period_type, day)
    assert period.period_type == period_type
    assert period.first <= day <= period.last
    assert parse_period(period.iso) == period
    # Only the 27th of two weeks overlaps the next period, by its second week.
    after = period.last + timedelta(days=-6 if period.iso.endswith("BiW27") else 1)
    assert period_of(period_type, after).first == after


def test_current_period_closed() -> None:
    assert latest_open_period("Monthly", 0, date(2026, 1, 15)).iso == "202512"
    assert latest_open_period("Monthly", 1, date(2026, 1, 15)).iso == "202601"
    assert latest_open_period("Monthly", 3, date(2026, 1, 15)).iso == "202603"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("202601", Version.V2_37),
        ("2026NovQ1", Version.V2_40),
        ("2026Sep", Version.V2_42),
        ("2026FriW5", Version.V2_43),
        ("2026Feb", Version.V2_43),
        ("2026Aug", Version.V2_43),
    ],
)
def test_types_of_each_version(text: str, first: Version) -> None:
    for version in Version:
        server = Server(version, Metadata(), ValueStore(), datetime(2026, 2, 1, tzinfo=UTC), ADMIN)
        assert (server.period(text) is not None) is version.is_at_least(first), version
