"""A run as the console shows it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cli.console.causes import causes_of
from cli.console.runs import Refused, RunShown, is_value
from msupply_dhis2.state.run import Outcome

AS_OF = datetime(2026, 11, 5, tzinfo=UTC)
KAMO = {"store": "Kamo", "item": "Amoxicillin", "metric": "stock_on_hand", "period": "202610"}


def run(event: dict[str, Any], **changes: Any) -> RunShown:  # noqa: ANN401 - its fields
    told = {"started_by": "manual", "as_of": AS_OF, "started_at": AS_OF, "ended_at": AS_OF}
    about = {"outcomes": {"stored": 3, "not_sent": 2}, "ended": Outcome.INCOMPLETE, "periods": ("202610",)}
    return RunShown("run-1", event, **{**told, **about, **changes})


@pytest.mark.parametrize(
    ("event", "about", "may_be"),
    [
        ({"manual": True}, True, True),
        ({"manual": True, "stores": ["kamo"], "metrics": ["SOH"]}, True, True),
        ({"manual": True, "stores": ["KAM"]}, False, True),
        ({"manual": True, "items": ["ORS"]}, False, True),
        ({"manual": True, "metrics": ["issued"]}, False, False),
        ({"interval": "monthly"}, True, True),
        ({"of another": "version"}, False, False),
    ],
)
def test_is_about(event: dict[str, Any], *, about: bool, may_be: bool) -> None:
    of = run(event)
    assert (of.is_about(KAMO), of.may_be_about(KAMO)) == (about, may_be)
    assert not of.may_be_about({**KAMO, "period": "202609"})
    assert of.is_about({**KAMO, "metric": "stock on hand"}) == about


@pytest.mark.parametrize(
    ("event", "about", "form"),
    [
        (
            {"manual": True},
            "Manual push, current day",
            {"as_of": AS_OF.isoformat(), "all_stores": "true"},
        ),
        (
            {"manual": True, "months": "2026-01..2026-02", "stores": ["A", "B"]},
            "Months that are over, 2026-01..2026-02. Stores: A, B",
            {"months": "2026-01..2026-02", "stores": "A\nB"},
        ),
        ({"interval": "monthly"}, "monthly", {}),
        ({"of another": "version"}, "manual", {}),
    ],
)
def test_about_and_again(event: dict[str, Any], about: str, form: dict[str, str]) -> None:
    assert (run(event).about, run(event).again) == (about, form)


def test_sums() -> None:
    of = run({"manual": True})
    assert (of.values, of.left, of.sums) == (5, 2, "5 values: 3 stored, 2 not sent")
    assert run({}, outcomes={"stored": 0}, already_stored=7).sums.startswith("7 more values were not sent")
    assert run({}, ended=None).ended_name == "not_yet"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (KAMO, True),
        ({"store": "opua", "item": "amoxicillin"}, True),
        ({**KAMO, "metric": "issued"}, False),
        ({**KAMO, "store": "Kam"}, False),
        ({**KAMO, "period": "202609"}, False),
    ],
)
def test_is_value(asked: dict[str, str], *, found: bool) -> None:
    value = {"store": "Kamo; Opua", "item": "Amoxicillin", "metric": "stock on hand", "period": "202610"}
    assert is_value(Refused("rejected", "E7612", "", "", value), asked) is found


def refused(period: str, store: str = "Kamo", code: str = "E7612") -> Refused:
    value = {"store": store, "item": "Amoxicillin; ORS", "metric": "issued", "period": period, "value": "1"}
    return Refused("rejected", code, "why", "cure", value)


def test_causes_and_again() -> None:
    same = {"basis": "as_in_settings", "as_of": "2026-11-05T04:30:00+13:00", "all_stores": "true"}
    values = [
        *(refused("202610", store) for store in ("Kamo", "Opua", "Kamo")),
        *(refused(period) for period in ("202608", "202607")),
        refused("202610", code="E7610"),
    ]
    found = causes_of(values, same)
    assert [cause["title"] for cause in found] == [
        "3 values rejected (E7612)",
        "2 values rejected (E7612), 202607, 202608",
        "1 value rejected (E7610)",
    ]
    named = {"items": "Amoxicillin\nORS", "metrics": "issued"}
    instant = {"basis": "as_in_settings", "as_of": "2026-11-05T04:30:00+13:00"}
    assert found[0]["again"] == {**instant, "stores": "Kamo\nOpua", **named, "asked": "3"}
    assert found[1]["again"] == {"months": "2026-07..2026-08", "stores": "Kamo", **named, "asked": "2"}


def test_causes_of_one_month() -> None:
    by_hand = {"basis": "current_day", "as_of": "2026-11-05"}
    assert causes_of([refused("202609")], by_hand)[0]["again"]["as_of"] == "2026-11-05"  # type: ignore[index]
    same = {"basis": "as_in_settings", "as_of": "2026-11-05"}
    (cause,) = causes_of([refused("202609")], same)
    assert cause["again"]["months"] == "2026-09..2026-09"  # type: ignore[index]
    assert "as_of" in causes_of([refused("2026Q3")], same)[0]["again"]  # type: ignore[operator]
