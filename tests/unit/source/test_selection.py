import json
from decimal import Decimal
from fractions import Fraction

import pytest

from msupply_dhis2.source.selection import (
    days_in_month,
    field_text,
    first_value,
    flag,
    is_ticked,
    item_fields,
    look_back_months,
    read_object,
)


@pytest.mark.parametrize("blank", [None, "", "  ", "null", '""'])
def test_blank_document(blank: str | None) -> None:
    assert read_object(blank) == {}


@pytest.mark.parametrize("broken", ["{", "[1]", "12", '"text"', "{'a': 1}", "[" * 100_000])
def test_broken_document(broken: str) -> None:
    assert read_object(broken) is None


def test_nested_text_document() -> None:
    assert read_object(json.dumps(json.dumps({"a": "b"}))) == {"a": "b"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" OU_KAMO ", "OU_KAMO"),
        ({"data": " OU_KAMO "}, "OU_KAMO"),
        (12, "12"),
        ({"data": 12}, "12"),
        (Decimal("12.50"), "12.50"),
        ("", None),
        ("  ", None),
        ({"data": ""}, None),
        ({"data": None}, None),
        ({"other": "x"}, None),
        (None, None),
        (True, None),
        (["x"], None),
    ],
)
def test_custom_field_forms(value: object, text: str | None) -> None:
    assert field_text(value) == text


def test_code_typed_as_number() -> None:
    document = read_object('{"Dhis2Code": 12.50, "other": 12345678901234567890}')
    assert document is not None
    assert field_text(document["Dhis2Code"]) == "12.50"
    assert field_text(document["other"]) == "12345678901234567890"


@pytest.mark.parametrize("value", [True, 1, Decimal("1.0"), "true", "True", {"data": "True"}])
def test_ticked_checkbox(value: object) -> None:
    assert is_ticked(value)


@pytest.mark.parametrize(
    "value", [False, 0, 2, "", "1", "TRUE", "yes", None, [True], {"data": "no"}, {"a": True}]
)
def test_unticked(value: object) -> None:
    assert not is_ticked(value)


def test_places_of_fields() -> None:
    record = {"user_field_1": " a ", "user_field_5": 7, "key": "of the record"}
    custom_data = {"key": {"data": "b"}, "user_field_2": "of the custom data"}
    assert item_fields(record, custom_data) == {
        "user_field_1": " a ",
        "user_field_5": 7,
        "key": {"data": "b"},
    }


@pytest.mark.parametrize("zero", [0, Decimal("0.0")])
def test_zero_is_no_value(zero: object) -> None:
    assert item_fields({"user_field_5": zero}, {}) == {}


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("a", True),
        (0, True),
        (False, True),
        ({"data": False}, True),
        (" ", False),
        (None, False),
        ({"data": ""}, False),
        ({}, False),
        (["a"], False),
    ],
)
def test_first_place_decides(value: object, *, is_one: bool) -> None:
    assert first_value([{}, {"key": value}, {"key": "next"}], "key") == (value if is_one else "next")


@pytest.mark.parametrize(
    ("value", "months"),
    [
        (3.0, Fraction(3)),
        ("3", Fraction(3)),
        (" 1.5 ", Fraction(3, 2)),
        (0.1, Fraction(1, 10)),
        (0, None),
        ("0", None),
        ("-2", None),
        ("", None),
        (None, None),
        ("1e-999999", None),
    ],
)
def test_look_back_months(value: object, months: Fraction | None) -> None:
    assert look_back_months(value) == months


@pytest.mark.parametrize("value", ["three", "NaN", "Infinity", "1e999999", "1201", float("nan")])
def test_unreadable_look_back(value: object) -> None:
    with pytest.raises(ValueError, match="number"):
        look_back_months(value)


def test_days_in_month() -> None:
    assert days_in_month("30.4375") == Fraction(487, 16)
    assert days_in_month("0") is None
    assert days_in_month("-1") is None
    for unreadable in ("", "{", "true", '"thirty"', "1e9"):
        with pytest.raises(ValueError, match="number"):
            days_in_month(unreadable)


def test_flags() -> None:
    assert flag("true") is True
    assert flag("false") is False
    for unreadable in ("", "1", '"true"', "{"):
        with pytest.raises(ValueError, match="neither"):
            flag(unreadable)
