"""How a value is worked out, in words and numbers."""

import re
from collections import Counter
from datetime import date

import pytest

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import PairHistory
from msupply_dhis2.explain.explanation import Span
from msupply_dhis2.explain.formula import Formula, formula
from msupply_dhis2.metrics.calculate import Group, Rules
from msupply_dhis2.periods import Basis, Window
from tests.support.histories import (
    ADJUSTED,
    INBOUND,
    JANUARY,
    KAMO,
    OPUA,
    OUTBOUND,
    RECEIVED_BEFORE,
    WORKED_EXAMPLE,
    line,
    moved,
    pair,
    window_of,
)
from tests.support.paths import PROJECT


def formula_of(
    metric: Metric,
    *pairs: PairHistory,
    at: Window = JANUARY,
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> Formula:
    return formula(Group(list(pairs), at, rules, Counter()), metric, at)


@pytest.mark.parametrize("metric", Metric)
def test_documented_example(metric: Metric) -> None:
    table = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8").split("worked example -->")[1]
    rows = [row.strip("|").split("|") for row in re.findall(r"^\|.*\|$", table, re.MULTILINE)]
    printed = {row[0].strip(): row[3].strip() for row in rows}
    assert printed[metric.label] == formula_of(metric, WORKED_EXAMPLE).formula


def test_days_out_of_stock_spans() -> None:
    worked_out = formula_of(Metric.DAYS_OUT_OF_STOCK, WORKED_EXAMPLE)
    assert worked_out.days_without_stock == (Span(first=date(2026, 1, 6), last=date(2026, 1, 14), days=9),)


def test_quotient_of_each_store() -> None:
    pairs = [
        pair([line(9)], [RECEIVED_BEFORE, moved("2026-01-10", -6, OUTBOUND)], store) for store in (KAMO, OPUA)
    ]
    worked_out = formula_of(Metric.AVERAGE_MONTHLY_CONSUMPTION, *pairs)
    assert worked_out.formula == "average monthly consumption = the sum of the stores = 8"
    assert [term.units for term in worked_out.terms] == ["2", "6"]
    assert worked_out.terms[1].what == (
        "Opua: 6 issued in 30 days from 2 January 2026 to 31 January 2026 / 1 month"
    )


def test_shortened_months() -> None:
    history = pair(
        [line(0)],
        [moved("2025-06-01", 10, INBOUND), moved("2026-01-21 10:00", -10, OUTBOUND)],
    )
    worked_out = formula_of(Metric.AVERAGE_MONTHLY_CONSUMPTION, history, rules=ADJUSTED)
    assert worked_out.formula == (
        "average monthly consumption = 10 issued in 91 days from 2 November 2025 to 31 January 2026 / 2.671458 months (3 "
        "months x (91.3125 - 10) / 91.3125, because of 10 days out of stock) = 3.743274"
    )


@pytest.mark.parametrize(
    ("metric", "pairs", "at", "why"),
    [
        (
            Metric.MONTHS_OF_STOCK,
            [pair([line(5)], [RECEIVED_BEFORE])],
            JANUARY,
            "no months of stock: the average monthly consumption is 0 or less; ",
        ),
        (
            Metric.DAYS_OUT_OF_STOCK,
            [pair([], [])],
            JANUARY,
            "no days out of stock: nothing was ever in stock before the end of the period",
        ),
        (
            Metric.DAYS_OUT_OF_STOCK,
            [pair([line(5)], [RECEIVED_BEFORE])],
            window_of(Basis.CURRENT_DAY, "2026-02-01 09:00"),
            "no days out of stock: no whole day of the period has passed (on 1 February 2026)",
        ),
    ],
)
def test_missing_value_reason(metric: Metric, pairs: list[PairHistory], at: Window, why: str) -> None:
    assert formula_of(metric, *pairs, at=at).formula.startswith(why)
