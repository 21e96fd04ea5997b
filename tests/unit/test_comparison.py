"""What would be sent beside what DHIS2 holds."""

from typing import Any

import pytest

from cli.comparison import Beside, Compared, HeldValues, Line, Preview, compare, is_held
from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.domain.choices import Scheme, Setup
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Settings, parse_settings
from tests.support.paths import PROJECT

DEFAULT = "HllvX50cXC0"
ISSUED = Column(("AMX", None, "ISSUED"), "202610", Scheme.CODE, Metric.ISSUED, "Amoxicillin")
VALUE = DataValue(ISSUED, Origin("OU_1", "Kamo"), "12")
MAPPING: list[Line] = [
    {"kind": "store", "name": "Kamo", "code": "KAM", "org_unit": "OU_1"},
    {"kind": "customer", "name": "Post", "code": "PST", "org_unit": "OU_2"},
    {"kind": "item", "name": "Amoxicillin", "code": "AMX", "data_elements": {"issued": "AMX", "received": "AMX", "stocked_out": "AMX"}},
    {"kind": "item", "name": "Oral salts", "code": "ORS", "data_elements": {"issued": "ORS", "received": None}},
    {"kind": "skipped", "why": "Opua has no code."},
]  # fmt: skip


def held(value: str, element: str = "AMX", combo: str = "ISSUED", **others: str) -> dict[str, str]:
    named = {"data_element": element, "org_unit": "OU_1", "period": "202610"}
    combos = {"category_option_combo": DEFAULT, "attribute_option_combo": combo}
    return {**named, **combos, "value": value, "stored_by": "nurse", **others}


def settings() -> Settings:
    return parse_settings(
        (PROJECT / "docs" / "examples" / "category_option_combo.yaml").read_text(encoding="utf-8")
    )


def compared(
    *there: dict[str, str],
    values: tuple[DataValue, ...] = (VALUE,),
    left_out: dict[str, str] | None = None,
    given: Settings | None = None,
    **event: object,
) -> Compared:
    result = ComputeResult(status=Status.DRY_RUN, message="", periods=("202610",))
    asked = parse_compute_event({"manual": True, "basis": "previous_month", **event})
    answer = HeldValues(there, left_out or {})
    return compare(Preview(values, result), asked, given or settings(), MAPPING, lambda _: answer)


def told(of: Compared) -> list[tuple[str, str, str, str | None]]:
    return [(line.beside.value, line.value.item, line.value.metric.value, line.held) for line in of.lines]


@pytest.mark.parametrize(
    ("there", "sent", "same"),
    [
        ("12", "12", True),
        ("12.0", "12", True),
        ("true", "1", True),
        ("false", "0", True),
        ("true", "0", False),
        ("12", "12.5", False),
        ("a dozen", "12", False),
        ("a dozen", "a dozen", True),
    ],
)
def test_same_number(there: str, sent: str, *, same: bool) -> None:
    assert is_held(there, sent) is same


@pytest.mark.parametrize(
    ("there", "beside"),
    [
        ((), Beside.NEW),
        ((held("12"),), Beside.SAME),
        ((held("13"),), Beside.CHANGED),
        # As a category option combo in place of an attribute option combo.
        ((held("12", combo=DEFAULT, category_option_combo="ISSUED"),), Beside.SAME),
        ((held("12", combo="ANOTHER"),), Beside.NEW),
        ((held("12", period="202609"),), Beside.NEW),
        ((held("12", org_unit="OU_2"),), Beside.NEW),
    ],
)
def test_found_by_key(there: tuple[dict[str, str], ...], beside: Beside) -> None:
    assert compared(*there).lines[0].beside is beside


def test_vanished() -> None:
    of = compared(
        held("12"),
        held("4", combo="RECEIVED"),
        held("5", "ORS"),
        held("6", org_unit="OU_2"),
        # None of these is a value of what was previewed.
        held("7", "ANOTHER"),
        held("8", combo="ANOTHER"),
        held("9", period="202609"),
    )
    assert told(of) == [
        ("same", "Amoxicillin", "issued", "12"),
        ("vanished", "Amoxicillin", "received", "4"),
        ("vanished", "Oral salts", "issued", "5"),
        ("vanished", "Amoxicillin", "issued", "6"),
    ]
    assert [line.value.store for line in of.lines] == ["Kamo", "Kamo", "Kamo", "Post"]
    assert (of.number(Beside.VANISHED), of.number(Beside.SAME)) == (3, 1)


@pytest.mark.parametrize(
    ("there", "event"),
    [
        (held("4", combo="RECEIVED"), {"metrics": ["issued"]}),
        (held("4", combo="RECEIVED"), {"items": ["ors"]}),
        (held("4", org_unit="OU_2"), {"stores": ["kamo"]}),
        # Its row is on the current day, which a month that is over does not have.
        (held("1", combo="STOCKED_OUT"), {"months": "2026-10", "basis": None}),
    ],
)
def test_not_asked_for(there: dict[str, str], event: dict[str, Any]) -> None:
    assert [line.beside for line in compared(there, **event).lines] == [Beside.NEW]


def test_periods_of_a_basis() -> None:
    stocked_out = ISSUED._replace(
        identifier=("AMX", None, "STOCKED_OUT"), metric=Metric.STOCKED_OUT, period="202611"
    )
    now = VALUE._replace(column=stocked_out)
    of = compared(
        held("3", combo="STOCKED_OUT"),
        held("4", combo="RECEIVED", period="202611"),
        held("5", combo="RECEIVED"),
        held("1", combo="STOCKED_OUT", period="202611"),
        values=(VALUE, now),
        basis="as_in_settings",
    )
    assert told(of)[1:] == [
        ("changed", "Amoxicillin", "stocked_out", "1"),
        ("vanished", "Amoxicillin", "received", "5"),
    ]


def test_data_element_per_item() -> None:
    per_item = settings().model_copy(update={"setup": Setup.DATA_ELEMENT_PER_ITEM})
    value = VALUE._replace(column=ISSUED._replace(identifier=("AMX", None, None)))
    there = (held("12", combo=DEFAULT), held("5", "ORS", DEFAULT))
    assert [line[0] for line in told(compared(*there, values=(value,), given=per_item))] == [
        "same",
        "vanished",
    ]


def test_unread_org_unit() -> None:
    of = compared(left_out={"OU_1": "DHIS2 has no such org unit."})
    assert [line.beside for line in of.lines] == [Beside.UNKNOWN]
    assert of.notes == ("OU_1: DHIS2 has no such org unit.",)


def test_several_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.comparison.MOST_PLACES", 1)
    asked: list[object] = []

    def read(question: object) -> HeldValues:
        asked.append(question)
        return HeldValues(())

    result = ComputeResult(status=Status.DRY_RUN, message="", periods=("202610",))
    event = parse_compute_event({"manual": True, "basis": "previous_month"})
    compare(Preview((VALUE,), result), event, settings(), MAPPING, read)
    assert [each["org_units"] for each in asked] == [["OU_1"], ["OU_2"]]  # type: ignore[index]
