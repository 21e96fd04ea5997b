"""Beside mSupply's screen: the numbers of docs/msupply-screen.md."""

import re
from collections import Counter

import pytest

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import PairHistory
from msupply_dhis2.explain.screen import beside_screen
from msupply_dhis2.metrics.calculate import Group, Rules
from msupply_dhis2.periods import Window
from tests.support.histories import (
    EXAMPLES_OF_THE_SCREEN,
    JANUARY,
    OUTBOUND,
    RECEIVED_BEFORE,
    line,
    moved,
    pair,
)
from tests.support.paths import PROJECT

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def shown_otherwise(history: PairHistory, metric: Metric, at: Window, rules: Rules) -> dict[str, str]:
    """What the screen shows for this value, and what is here, by each rule that makes a difference."""
    group = Group([history], at, rules, Counter())
    return {each.on_screen: each.here for each in beside_screen(group, metric, at)}


def documented() -> list[tuple[str, str]]:
    text = (PROJECT / "docs" / "msupply-screen.md").read_text(encoding="utf-8")
    tables = [part.split("\n\n")[0].splitlines()[2:] for part in text.split("| example |")[1:]]
    return [(row.split("|")[2].strip(), row.split("|")[3].strip()) for table in tables for row in table]


@pytest.mark.parametrize(
    ("cells", "example"),
    [
        (cells, example)
        for cells, example in zip(documented(), EXAMPLES_OF_THE_SCREEN, strict=True)
        # About months of stock the page says which values stay in DHIS2.
        if example[0] is not Metric.MONTHS_OF_STOCK
    ],
)
def test_documented_numbers(
    cells: tuple[str, str], example: tuple[Metric, PairHistory, Window, Rules]
) -> None:
    on_screen, here = (NUMBER.match(cell) for cell in cells)
    assert on_screen is not None
    assert here is not None
    metric, history, at, rules = example
    explained = shown_otherwise(history, metric, at, rules)
    if on_screen[0] == here[0]:
        assert explained == {}
    else:
        assert explained[on_screen[0]] == here[0]


def test_stock_of_now() -> None:
    history = pair([line(4)], [RECEIVED_BEFORE, moved("2026-02-03 10:00", -6, OUTBOUND)])
    assert shown_otherwise(history, Metric.STOCK_ON_HAND, JANUARY, Rules()) == {"4": "10"}


def test_equal_numbers() -> None:
    history = pair([line(100)], [RECEIVED_BEFORE])
    for metric in Metric:
        assert shown_otherwise(history, metric, JANUARY, Rules()) == {}
