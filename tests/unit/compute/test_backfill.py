"""Which months are computed again, at which instants, and in which order."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.compute.event import (
    MonthStep,
    month_steps_before,
    month_steps_of_range,
    parse_months,
    written_months,
)
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Basis, Calendar, PeriodFormat, window

AUCKLAND = Calendar(ZoneInfo("Pacific/Auckland"))
MONTHLY = PeriodFormat.parse("YYYYMM")
QUARTERLY = PeriodFormat.parse("Quarterly")
NOW = datetime(2026, 2, 1, 1, tzinfo=UTC)
MONTHS = st.dates(date(2000, 1, 1), date(2025, 12, 31)).map(lambda day: day.replace(day=1))


def months_of(steps: tuple[MonthStep, ...]) -> list[str | None]:
    return [step.month for step in steps]


def test_range_order() -> None:
    steps = month_steps_of_range(parse_months("2025-11..2026-01"), NOW, AUCKLAND, MONTHLY)
    assert months_of(steps) == ["2025-11", "2025-12", "2026-01"]


def test_single_month() -> None:
    assert months_of(month_steps_of_range(parse_months("2025-11"), NOW, AUCKLAND, MONTHLY)) == ["2025-11"]


@given(first=MONTHS, number=st.integers(0, 119))
def test_range_round_trip(first: date, number: int) -> None:
    last = first
    for _ in range(number):
        last = (last + timedelta(31)).replace(day=1)
    months = parse_months(f"{first:%Y-%m}..{last:%Y-%m}")
    assert (months[0], months[-1]) == (first, last)
    assert parse_months(written_months(months)) == months
    assert len(months) == number + 1
    assert sorted(set(months)) == list(months)


@given(month=MONTHS)
def test_month_step_window(month: date) -> None:
    (step,) = month_steps_of_range((month,), NOW, AUCKLAND, MONTHLY)
    following = (month + timedelta(31)).replace(day=1)
    first_instant = AUCKLAND.start_of_day(following).replace(tzinfo=UTC)
    assert step.as_of == first_instant
    assert window(Basis.PREVIOUS_MONTH, step.as_of, AUCKLAND, MONTHLY).period == f"{month:%Y%m}"


def test_current_month_refused() -> None:
    # In Auckland it is February already, in UTC still January.
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert months_of(month_steps_of_range(parse_months("2026-01"), now, AUCKLAND, MONTHLY)) == ["2026-01"]
    with pytest.raises(EventError, match=r"months: 2026-02 is not over yet\. .* that is: 2026-01\."):
        month_steps_of_range(parse_months("2025-12..2026-02"), now, AUCKLAND, MONTHLY)


@pytest.mark.parametrize(
    ("months", "says"),
    [
        ("2025", "write 2025-01, or 2025-01..2025-12"),
        ("2025-01..", "write 2025-01, or 2025-01..2025-12"),
        ("2025-13", "is neither a month nor a range"),
        ("2025-00..2025-03", "is neither a month nor a range"),
        ("2025-03..2025-01", "ends before it begins: write 2025-01..2025-03"),
        ("1999-12..2000-02", "lies before the year 2000"),
        ("2010-01..2025-12", "holds 192 months, and one event at most 120"),
    ],
)
def test_bad_range_refused(months: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        parse_months(months)


def test_quarterly_last_month() -> None:
    # The second quarter's values of April would replace those of May, and June's replace them.
    steps = month_steps_of_range(parse_months("2025-02..2025-07"), NOW, AUCKLAND, QUARTERLY)
    assert months_of(steps) == ["2025-03", "2025-06", "2025-09"]


def test_unfinished_period() -> None:
    now = datetime(2026, 6, 10, tzinfo=UTC)
    steps = month_steps_of_range(parse_months("2026-03..2026-04"), now, AUCKLAND, QUARTERLY)
    assert months_of(steps) == ["2026-03", "2026-05"]


def test_earlier_months_first() -> None:
    as_of = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert months_of(month_steps_before(3, as_of, AUCKLAND, MONTHLY)) == ["2025-11", "2025-12", "2026-01"]
    assert month_steps_before(0, as_of, AUCKLAND, MONTHLY) == ()


def test_own_period_not_repeated() -> None:
    # March is the run's own month, and the whole first quarter its period.
    as_of = datetime(2026, 4, 4, 15, 30, tzinfo=UTC)
    assert months_of(month_steps_before(4, as_of, AUCKLAND, QUARTERLY)) == ["2025-12"]
