"""The twelve metrics, rule by rule, and the worked example of the documentation."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    GroupHistory,
    ItemGroup,
    Movement,
    MovementKind,
    OrgUnit,
    PairHistory,
    Store,
)
from msupply_dhis2.metrics.calculate import GroupValues, Rules, calculate, floor
from msupply_dhis2.metrics.ledger import StockWarning
from msupply_dhis2.metrics.quantity import Quantity, format_value
from msupply_dhis2.periods import Basis, PeriodFormat, Window
from tests.support.histories import (
    ADJUSTED,
    AMOXICILLIN,
    BRAND,
    EXAMPLES_OF_THE_SCREEN,
    INBOUND,
    JANUARY,
    KAMO,
    OPUA,
    OUTBOUND,
    PRESCRIPTION,
    WORKED_EXAMPLE,
    line,
    moved,
    pair,
    window_of,
)
from tests.support.paths import PROJECT

DOCUMENTATION = PROJECT / "docs" / "metrics.md"
ADDITION, REDUCTION = MovementKind.INVENTORY_ADDITION, MovementKind.INVENTORY_REDUCTION
CUSTOMER_RETURN, SUPPLIER_RETURN = MovementKind.CUSTOMER_RETURN, MovementKind.SUPPLIER_RETURN

WHOLE_MONTH = [
    Metric.OPENING_STOCK,
    Metric.RECEIVED,
    Metric.ISSUED,
    Metric.ADJUSTMENTS,
    Metric.CLOSING_STOCK,
]


def result_of(
    pairs: PairHistory | list[PairHistory],
    at: Window,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    metrics: Iterable[Metric] = Metric,
) -> GroupValues:
    pairs = pairs if isinstance(pairs, list) else [pairs]
    history = GroupHistory(OrgUnit("OU_KAMO", (KAMO, OPUA)), ItemGroup("REF", (AMOXICILLIN, BRAND)), pairs)
    return calculate(history, at, rules, list(metrics))


def values_of(
    pairs: PairHistory | list[PairHistory],
    at: Window,
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> dict[Metric, Quantity]:
    """Values in units, days and months rather than in millionths."""
    values = result_of(pairs, at, rules).values
    return {metric: Fraction(value, MICRO) for metric, value in values.items()}


# The worked example


def test_worked_example() -> None:
    values = result_of(WORKED_EXAMPLE, JANUARY).values

    assert {metric.value: format_value(value, round_off=False) for metric, value in values.items()} == {
        "stock_on_hand": "50",
        "months_of_stock": "1.5",
        "adjustments": "0",
        "received": "50",
        "issued": "40",
        "expiring": "30",
        "expired": "20",
        "average_monthly_consumption": "33.333333",
        "days_out_of_stock": "9",
        "opening_stock": "40",
        "closing_stock": "50",
        "stocked_out": "0",
    }


@pytest.mark.parametrize(
    ("column", "at"),
    [(1, JANUARY), (2, window_of(Basis.CURRENT_DAY, "2026-02-10 09:00"))],
    ids=["previous month", "current day"],
)
def test_documented_values(column: int, at: Window) -> None:
    table = DOCUMENTATION.read_text(encoding="utf-8").split("worked example -->")[1]
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\|.*\|$", table, re.MULTILINE)
    ]
    printed = {row[0]: row[column] for row in rows[2:]}

    values = result_of(WORKED_EXAMPLE, at).values

    assert printed == {
        metric.label: format_value(values[metric], round_off=False) if metric in values else "no value"
        for metric in Metric
    }


def test_documented_screen_examples() -> None:
    text = (DOCUMENTATION.parent / "msupply-screen.md").read_text(encoding="utf-8")
    header = "| example | mSupply's screen | DHIS2 |"
    tables = [part.split("\n\n")[0].splitlines()[2:] for part in text.split(header)[1:]]
    printed = [(row.split("|")[1].strip(), row.split("|")[3].strip()) for table in tables for row in table]

    for (words, ours), (metric, history, at, rules) in zip(printed, EXAMPLES_OF_THE_SCREEN, strict=True):
        values = result_of(history, at, rules).values
        value = format_value(values[metric], round_off=False) if metric in values else "no value"
        assert words.startswith(metric.label)
        assert ours == value or ours.startswith(f"{value} ")


def test_documented_labels() -> None:
    table = DOCUMENTATION.read_text(encoding="utf-8").split("| Period format |")[1].split("\n\n")[0]
    rows = [[re.findall("`(.+?)`", cell) for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]

    for formats, labels in rows:
        made = [PeriodFormat.parse(text).label(date(2026, 1, 31)) for text in formats]
        assert made == (labels if len(labels) > 1 else labels * len(formats))


# Stock


def test_stock_counted_backwards() -> None:
    values = values_of(
        pair([line(7)], [moved("2026-01-10", 100, INBOUND), moved("2026-02-01", -3, OUTBOUND)]), JANUARY
    )

    assert values[Metric.STOCK_ON_HAND] == 10
    assert values[Metric.OPENING_STOCK] == -90


def test_movement_at_midnight() -> None:
    movements = [moved("2026-01-01 00:00", 5, INBOUND), moved("2026-02-01 00:00", -2, OUTBOUND)]

    values = values_of(pair([line(3)], movements), JANUARY)

    assert [values[metric] for metric in WHOLE_MONTH] == [0, 5, 0, 0, 5]


def test_fractions_sum_to_zero() -> None:
    lines = [line(0.1, name="A"), line(0.2, name="B"), line(-0.3, name="C")]

    values = values_of(pair(lines, []), JANUARY)

    assert values[Metric.STOCK_ON_HAND] == 0
    assert values[Metric.STOCKED_OUT] == 1


def test_negative_stock_is_counted() -> None:
    result = result_of(pair([line(-4)], []), JANUARY)

    assert result.values[Metric.STOCK_ON_HAND] == -4 * MICRO
    assert result.values[Metric.STOCKED_OUT] == MICRO
    # Stock on hand, opening and closing stock.
    assert result.warnings[StockWarning.NEGATIVE_STOCK] == 3


def test_group_sums() -> None:
    pairs = [
        pair([line(10)], [moved("2026-01-10", 4, INBOUND)], KAMO, AMOXICILLIN),
        pair([line(20)], [moved("2026-01-11", -3, OUTBOUND)], KAMO, BRAND),
        pair([line(30)], [moved("2026-01-12", -6, PRESCRIPTION)], OPUA, AMOXICILLIN),
    ]

    values = values_of(pairs, JANUARY)

    assert values[Metric.STOCK_ON_HAND] == 60
    assert values[Metric.OPENING_STOCK] == 65
    assert values[Metric.RECEIVED] == 4
    assert values[Metric.ISSUED] == 9


def test_current_day_instant() -> None:
    movements = [
        moved("2026-02-03", 5, INBOUND),
        moved("2026-02-10 08:59", -1, OUTBOUND),
        moved("2026-02-10 09:00", -2, OUTBOUND),
    ]

    values = values_of(pair([line(10)], movements), window_of(Basis.CURRENT_DAY, "2026-02-10 09:00"))

    assert values[Metric.STOCK_ON_HAND] == values[Metric.CLOSING_STOCK] == 12
    assert [values[metric] for metric in WHOLE_MONTH] == [8, 5, 1, 0, 12]


def test_empty_group() -> None:
    assert result_of([], JANUARY) == GroupValues()


def test_visible_only_pair() -> None:
    values = values_of(pair([], []), JANUARY)

    assert values.pop(Metric.STOCKED_OUT) == 1
    assert set(values) == set(Metric) - {
        Metric.STOCKED_OUT,
        Metric.MONTHS_OF_STOCK,
        Metric.DAYS_OUT_OF_STOCK,
    }
    assert set(values.values()) == {0}


# Flows


def test_cancelled_prescription() -> None:
    movements = [
        moved("2026-01-10", -5, PRESCRIPTION),
        moved("2026-01-12", 5, PRESCRIPTION),
        moved("2026-01-13", -2, PRESCRIPTION),
    ]

    assert values_of(pair([line(3)], movements), JANUARY)[Metric.ISSUED] == 2


def test_returns_as_adjustments() -> None:
    movements = [
        moved("2026-01-02", 7, ADDITION),
        moved("2026-01-03", -2, REDUCTION),
        moved("2026-01-04", 4, CUSTOMER_RETURN),
        moved("2026-01-05", -1, SUPPLIER_RETURN),
        moved("2026-01-06", 3, MovementKind.REPACK),
        moved("2026-01-06", -3, MovementKind.REPACK),
    ]
    history = pair([line(8)], movements)

    assert values_of(history, JANUARY)[Metric.ADJUSTMENTS] == 5
    with_returns = values_of(history, JANUARY, Rules(include_returns=True))
    assert [with_returns[metric] for metric in WHOLE_MONTH] == [0, 0, 0, 8, 8]


def test_quarterly_flows() -> None:
    movements = [moved("2026-01-10", 5, INBOUND), moved("2026-02-10", 7, INBOUND)]

    values = values_of(
        pair([line(12)], movements), window_of(Basis.PREVIOUS_MONTH, "2026-03-03 09:00", "Quarterly")
    )

    assert values[Metric.RECEIVED] == 12
    assert values[Metric.OPENING_STOCK] == 5


# Expiry


@pytest.mark.parametrize(
    ("expires", "expiring", "expired"),
    [
        ("2026-01-30", 0, 5),
        ("2026-01-31", 0, 5),
        ("2026-02-01", 5, 0),
        ("2026-05-01", 5, 0),
        ("2026-05-02", 0, 0),
        (None, 0, 0),
    ],
)
def test_expired_and_expiring(expires: str | None, expiring: int, expired: int) -> None:
    values = values_of(pair([line(5, expires)], []), JANUARY)

    assert values[Metric.EXPIRING] == expiring
    assert values[Metric.EXPIRED] == expired


def test_expiry_days_setting() -> None:
    history = pair([line(5, "2026-03-02")], [])

    assert values_of(history, JANUARY, Rules(expiring_within_days=30))[Metric.EXPIRING] == 5
    assert values_of(history, JANUARY, Rules(expiring_within_days=29))[Metric.EXPIRING] == 0


def test_lines_run_back() -> None:
    movements = [
        moved("2026-02-02", -4, OUTBOUND, "A"),
        moved("2026-02-03", -2, OUTBOUND, None),
        moved("2026-02-04", -1, OUTBOUND, "a line that is gone"),
        # Before the snapshot: the line as it was then has it already.
        moved("2026-01-20", -9, OUTBOUND, None),
    ]

    result = result_of(pair([line(6, "2026-03-01")], movements), JANUARY)

    assert result.values[Metric.EXPIRING] == 10 * MICRO
    assert result.values[Metric.STOCK_ON_HAND] == 13 * MICRO
    assert result.warnings == {
        StockWarning.MOVEMENT_WITHOUT_STOCK_LINE: 1,
        StockWarning.MOVEMENT_OF_MISSING_STOCK_LINE: 1,
    }


def test_same_line_in_another_store() -> None:
    pairs = [
        pair([line(6, "2026-03-01", "A")], [], KAMO),
        pair([line(5, "2026-01-01", "B")], [moved("2026-02-02", -4, OUTBOUND, "A")], OPUA),
    ]

    values = values_of(pairs, JANUARY)

    assert values[Metric.EXPIRING] == 6
    assert values[Metric.EXPIRED] == 5


def test_line_below_zero() -> None:
    pairs = pair(
        [line(5, "2026-03-01", "A"), line(0, "2026-03-01", "B")], [moved("2026-02-02", 4, ADDITION, "B")]
    )

    assert values_of(pairs, JANUARY)[Metric.EXPIRING] == 1


def test_movements_without_line() -> None:
    history = pair([line(5)], [moved("2026-02-02", -4, OUTBOUND, None)])

    assert not result_of(history, JANUARY, metrics=[Metric.STOCK_ON_HAND]).warnings


# Average monthly consumption and months of stock


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        # 91 whole days (3 months of 30.4375 days, the fraction cut off), of which 2026-01-31 is the last and 2025-11-02 the first.
        ("2025-11-01 23:59", False),
        ("2025-11-02 00:00", True),
        ("2026-01-31 23:59", True),
        ("2026-02-01 00:00", False),
    ],
)
def test_consumption_window(when: str, *, counts: bool) -> None:
    values = values_of(pair([line(10)], [moved(when, -6, OUTBOUND)]), JANUARY)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == (2 if counts else 0)


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        ("2025-11-11 23:59", False),
        ("2025-11-12 00:00", True),
        ("2026-02-10 08:59", True),
        ("2026-02-10 09:00", False),
    ],
)
def test_consumption_includes_run_day(when: str, *, counts: bool) -> None:
    at = window_of(Basis.CURRENT_DAY, "2026-02-10 09:00")

    values = values_of(pair([line(10)], [moved(when, -6, OUTBOUND)]), at)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == (2 if counts else 0)


def test_consumption_by_store() -> None:
    pairs = [
        pair([line(0)], [moved("2025-12-15", -30, OUTBOUND)], KAMO),
        pair([line(0)], [moved("2026-01-15", -7, OUTBOUND), moved("2025-12-15", -100, OUTBOUND)], OPUA),
    ]

    values = values_of(pairs, JANUARY)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == 30 / 3 + 7


def test_days_in_month_preference() -> None:
    rules = Rules(consumption=ConsumptionPreferences(days_in_month=Fraction(10)))
    history = pair([line(0)], [moved("2026-01-02", -3, OUTBOUND), moved("2026-01-01", -30, OUTBOUND)])

    assert values_of(history, JANUARY, rules)[Metric.AVERAGE_MONTHLY_CONSUMPTION] == 1


def test_stock_out_adjustment() -> None:
    # In the 91 days: the 25 days before the first stocking do not count, nor the days it ran out and came
    # back, so the 9 days from 2026-01-06 to 2026-01-14 remain.
    days = 3 * Fraction(36525, 1200)

    plain = values_of(WORKED_EXAMPLE, JANUARY)[Metric.AVERAGE_MONTHLY_CONSUMPTION]
    adjusted = values_of(WORKED_EXAMPLE, JANUARY, ADJUSTED)[Metric.AVERAGE_MONTHLY_CONSUMPTION]

    assert adjusted == plain * days / (days - 9)


def test_adjustment_by_store() -> None:
    # Kamo is out from the 11th to the 31st; Opua never is, so the group never is.
    pairs = [
        pair([line(0)], [moved("2025-01-10", 9, INBOUND), moved("2026-01-10", -9, OUTBOUND)], KAMO),
        pair([line(50)], [moved("2026-01-10", -4, OUTBOUND)], OPUA),
    ]
    days = 3 * Fraction(36525, 1200)

    values = values_of(pairs, JANUARY, ADJUSTED)

    assert values[Metric.DAYS_OUT_OF_STOCK] == 0
    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == 3 * days / (days - 21) + 4


def test_no_adjustment_without_stock() -> None:
    # 10 days of look-back, all of them out of stock, and still something was issued.
    rules = Rules(
        consumption=ConsumptionPreferences(days_in_month=Fraction(10), adjust_for_days_out_of_stock=True)
    )
    movements = [
        moved("2025-01-10", 5, INBOUND),
        moved("2025-02-10", -5, OUTBOUND),
        moved("2026-01-25", -6, OUTBOUND),
    ]

    values = values_of(pair([line(-6)], movements, OPUA), JANUARY, rules)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == 6


NO_DAY_IN_STOCK = [
    # All that came in the look-back left at the same instant.
    moved("2025-01-01T10:00", 9, INBOUND),
    moved("2025-02-01T10:00", -9, OUTBOUND),
    moved("2025-12-15T10:00", -6, OUTBOUND),
    moved("2025-12-15T10:00", 6, INBOUND),
]


@pytest.mark.parametrize(
    ("stock", "movements", "adjusted"),
    [
        # 91 whole days out of stock leave a fraction of a day of 3 x 30.4375, which is no day in stock.
        (0, NO_DAY_IN_STOCK, False),
        # Stocked for the first time in the look-back, and never above 0 at a midnight or between.
        (-6, [moved("2025-12-15T10:00", 6, INBOUND), moved("2025-12-15T10:00", -12, OUTBOUND)], False),
        # The day on which stock came and went had some.
        (
            0,
            [
                *NO_DAY_IN_STOCK,
                moved("2025-12-20T10:00", 1, INBOUND),
                moved("2025-12-20T11:00", -1, OUTBOUND),
            ],
            True,
        ),
        # Stock that comes after the last whole day is none of its own; this one ends the month.
        (6, [*NO_DAY_IN_STOCK, moved("2026-02-01T00:00", 6, INBOUND)], False),
        (6, [*NO_DAY_IN_STOCK, moved("2026-01-31T23:59:59", 6, INBOUND)], True),
    ],
)
def test_adjustment_needs_a_whole_day(stock: int, movements: list[Movement], *, adjusted: bool) -> None:
    history = pair([line(stock)], movements)
    plain = values_of(history, JANUARY)[Metric.AVERAGE_MONTHLY_CONSUMPTION]
    value = values_of(history, JANUARY, ADJUSTED)[Metric.AVERAGE_MONTHLY_CONSUMPTION]

    assert (value > plain) is adjusted
    assert adjusted or value == plain > 0


def test_arrival_today_is_no_whole_day() -> None:
    history = pair([line(6)], [*NO_DAY_IN_STOCK, moved("2026-02-10T00:30", 6, INBOUND)])

    today = window_of(Basis.CURRENT_DAY, "2026-02-10 09:00")
    value = values_of(history, today, ADJUSTED)[Metric.AVERAGE_MONTHLY_CONSUMPTION]

    assert value == 2


def test_no_months_without_consumption() -> None:
    values = values_of(pair([line(10)], []), JANUARY)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == 0
    assert Metric.MONTHS_OF_STOCK not in values


def test_no_months_below_zero() -> None:
    values = values_of(pair([line(10)], [moved("2026-01-10", 6, PRESCRIPTION)]), JANUARY)

    assert values[Metric.AVERAGE_MONTHLY_CONSUMPTION] == -2
    assert Metric.MONTHS_OF_STOCK not in values


@pytest.mark.parametrize(("stock", "months"), [(0, 0), (-4, -2), (5, Fraction(5, 2))])
def test_months_of_stock(stock: int, months: Fraction) -> None:
    values = values_of(pair([line(stock)], [moved("2026-01-10", -6, OUTBOUND)]), JANUARY)

    assert values[Metric.MONTHS_OF_STOCK] == months


def test_months_of_stock_of_a_group() -> None:
    pairs = [
        pair([line(30)], [moved("2026-01-10", -30, OUTBOUND)], KAMO, AMOXICILLIN),
        pair([line(0)], [moved("2026-01-10", -30, OUTBOUND)], KAMO, BRAND),
    ]

    assert values_of(pairs, JANUARY)[Metric.MONTHS_OF_STOCK] == Fraction(3, 2)


# Days out of stock


def days_out(movements: Iterable[Movement], stock: float = 0, at: Window = JANUARY) -> Quantity | None:
    return values_of(pair([line(stock)], movements), at).get(Metric.DAYS_OUT_OF_STOCK)


LONG_AGO = moved("2024-01-01", 10, INBOUND)


def test_partial_days_do_not_count() -> None:
    assert (
        days_out(
            [LONG_AGO, moved("2026-01-10 08:00", -10, OUTBOUND), moved("2026-01-12 16:00", 5, INBOUND)], 5
        )
        == 1
    )
    assert (
        days_out(
            [LONG_AGO, moved("2026-01-10 08:00", -10, OUTBOUND), moved("2026-01-11 16:00", 5, INBOUND)], 5
        )
        == 0
    )


def test_midnight_to_midnight() -> None:
    # Out at the first instant of the 10th: at the midnight itself it was still there.
    assert days_out([LONG_AGO, moved("2026-01-10 00:00", -10, OUTBOUND)]) == 21
    # Out at the last instant of the 9th: the whole 10th counts.
    assert days_out([LONG_AGO, moved("2026-01-09 23:59:59.999999", -10, OUTBOUND)]) == 22
    # Back at the midnight that ends the 31st: that is the 1st of February.
    assert (
        days_out(
            [LONG_AGO, moved("2026-01-09 08:00", -10, OUTBOUND), moved("2026-02-01 00:00", 5, INBOUND)], 5
        )
        == 22
    )
    # Back at the last instant of the 31st.
    assert (
        days_out(
            [LONG_AGO, moved("2026-01-09 08:00", -10, OUTBOUND), moved("2026-01-31 23:59:59", 5, INBOUND)], 5
        )
        == 21
    )


def test_stock_change_at_month_start() -> None:
    assert days_out([LONG_AGO, moved("2026-01-01 00:00", -10, OUTBOUND)]) == 30
    assert (
        days_out([LONG_AGO, moved("2025-12-01", -10, OUTBOUND), moved("2026-01-01 00:00", 5, INBOUND)], 5)
        == 0
    )


def test_stock_within_a_day() -> None:
    movements = [
        LONG_AGO,
        moved("2025-12-01", -10, OUTBOUND),
        moved("2026-01-10 08:00", 5, INBOUND),
        moved("2026-01-10 17:00", -5, OUTBOUND),
    ]

    assert days_out(movements) == 30


def test_simultaneous_movements() -> None:
    movements = [
        LONG_AGO,
        moved("2025-12-01", -10, OUTBOUND),
        moved("2026-01-10 08:00", 5, INBOUND),
        moved("2026-01-10 08:00", -5, OUTBOUND),
    ]

    assert days_out(movements) == 31
    assert days_out(reversed(movements)) == 31


def test_days_before_first_stock() -> None:
    # First in on the 10th, out again on the 12th: the 13th to the 31st.
    assert days_out([moved("2026-01-10", 5, INBOUND), moved("2026-01-12", -5, OUTBOUND)]) == 19


def test_day_of_first_stock() -> None:
    # More had gone out before than came in on the 10th.
    assert days_out([moved("2026-01-05", -9, OUTBOUND), moved("2026-01-10", 5, INBOUND)], -4) == 22


def test_stock_before_first_movement() -> None:
    assert days_out([moved("2025-06-01", -8, OUTBOUND)]) == 31
    assert days_out([moved("2026-01-12", -8, OUTBOUND)]) == 19


def test_never_stocked() -> None:
    assert days_out([]) is None
    assert days_out([moved("2026-01-12", -8, OUTBOUND)], -8) is None
    assert days_out([moved("2026-02-01 00:00", 5, INBOUND)], 5) is None
    assert days_out([moved("2026-01-31 23:59", 5, INBOUND)], 5) == 0


def test_org_unit_out_by_its_sum() -> None:
    pairs = [
        pair(
            [line(0)], [moved("2026-01-01 12:00", 5, INBOUND), moved("2026-01-10 12:00", -5, OUTBOUND)], KAMO
        ),
        pair([line(3)], [moved("2026-01-20 12:00", 3, INBOUND)], OPUA),
    ]

    assert values_of(pairs, JANUARY)[Metric.DAYS_OUT_OF_STOCK] == 9


def test_current_day_until_yesterday() -> None:
    movements = [LONG_AGO, moved("2026-02-03 12:00", -10, OUTBOUND)]

    assert days_out(movements, at=window_of(Basis.CURRENT_DAY, "2026-02-10 09:00")) == 6
    assert days_out(movements, at=window_of(Basis.CURRENT_DAY, "2026-02-10 00:00")) == 6
    # The week from Monday, the 9th.
    assert days_out(movements, at=window_of(Basis.CURRENT_DAY, "2026-02-10 09:00", "Weekly")) == 1


@pytest.mark.parametrize(
    ("as_of", "text"),
    [("2026-02-01 09:00", "YYYYMM"), ("2026-02-10 09:00", "YYYYMMDD"), ("2026-02-09 09:00", "Weekly")],
)
def test_no_whole_day_yet(as_of: str, text: str) -> None:
    assert days_out([LONG_AGO], 10, window_of(Basis.CURRENT_DAY, as_of, text)) is None


def test_first_stocked_today() -> None:
    at = window_of(Basis.CURRENT_DAY, "2026-02-10 09:00")

    assert days_out([moved("2026-02-10 08:00", 5, INBOUND)], 5, at) == 0
    assert days_out([moved("2026-02-10 09:00", 5, INBOUND)], 5, at) is None


def test_days_of_uneven_length() -> None:
    # 2018-11-04 in São Paulo begins at 01:00; the whole of November is 30 days all the same.
    zone = "America/Sao_Paulo"
    movements = [
        moved("2018-10-01", 4, INBOUND, zone=zone),
        moved("2018-11-03 23:59", -4, OUTBOUND, zone=zone),
        moved("2018-11-05 01:00", 4, INBOUND, zone=zone),
    ]

    assert days_out(movements, 4, window_of(Basis.PREVIOUS_MONTH, "2018-12-02", zone=zone)) == 1


def test_day_skipped_by_time_zone() -> None:
    zone = "Pacific/Apia"
    movements = [moved("2011-11-01", 4, INBOUND, zone=zone), moved("2011-11-02", -4, OUTBOUND, zone=zone)]

    assert days_out(movements, 0, window_of(Basis.PREVIOUS_MONTH, "2012-01-15", zone=zone)) == 30


# What is asked for, and how far back to read


def test_order_of_metrics() -> None:
    metrics = [Metric.STOCKED_OUT, Metric.STOCK_ON_HAND]

    assert list(result_of(WORKED_EXAMPLE, JANUARY, metrics=metrics).values) == metrics


def test_sum_before_the_floor() -> None:
    at = JANUARY
    earliest = floor([at], [KAMO], Rules())
    movements = [movement for movement in WORKED_EXAMPLE.movements if movement.instant >= at.month_start]
    before = sum(movement.units for movement in WORKED_EXAMPLE.movements) - sum(
        movement.units for movement in movements
    )
    cut = PairHistory(
        KAMO, AMOXICILLIN, WORKED_EXAMPLE.stock_lines, movements, WORKED_EXAMPLE.first_in, before
    )
    metrics = [Metric.DAYS_OUT_OF_STOCK, *WHOLE_MONTH]

    assert earliest < at.month_start
    assert result_of(cut, at, metrics=metrics) == result_of(WORKED_EXAMPLE, at, metrics=metrics)


@pytest.mark.parametrize(
    ("text", "months", "first_day"),
    [
        ("YYYYMM", None, "2025-11-02"),
        ("YYYYMM", Fraction(1), "2026-01-01"),
        ("YYYYMM", Fraction(1, 2), "2026-01-01"),
        ("YYYYMM", Fraction(12), "2025-02-01"),
        ("FinancialJuly", None, "2025-07-01"),
    ],
)
def test_floor_is_the_earliest(text: str, months: Fraction | None, first_day: str) -> None:
    at = window_of(Basis.PREVIOUS_MONTH, "2026-02-10 09:00", text)
    store = Store("kamo", "KAM", "Kamo", "OU_KAMO", months)

    assert floor([at], [store], Rules()) == at.calendar.start_of_day(date.fromisoformat(first_day))


def test_floor_of_furthest_store() -> None:
    windows = [JANUARY, window_of(Basis.CURRENT_DAY, "2026-02-10 09:00")]

    both = floor(windows, [OPUA, KAMO], Rules())

    assert both == floor([JANUARY], [KAMO], Rules())


def test_endless_look_back() -> None:
    store = Store("kamo", "KAM", "Kamo", "OU_KAMO", Fraction(10**9))

    assert floor([JANUARY], [store], Rules()) < datetime(1, 1, 1) + timedelta(days=2)  # noqa: DTZ001 - naive UTC
