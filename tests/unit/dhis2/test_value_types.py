"""The shape of a value for each value type, held against what every version of the stand-in takes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.error_catalogue import FRACTION, TRUE_ONLY
from msupply_dhis2.dhis2.value_rules import NUMERIC_TYPES, shape
from msupply_dhis2.domain.outcome import Reason
from sandbox.dhis2 import Version
from sandbox.dhis2.metadata import DataElement
from sandbox.dhis2.values import normalise

TYPES = (*sorted(NUMERIC_TYPES), "BOOLEAN", "TRUE_ONLY")
WHOLE = ("INTEGER", "INTEGER_POSITIVE", "INTEGER_ZERO_OR_POSITIVE", "INTEGER_NEGATIVE")

number_texts = st.one_of(
    st.integers(-3, 3).map(str),
    st.integers(-(2**32), 2**32).map(str),
    st.sampled_from(
        ["100", "100.000001", "1.0", "0.0", "-0", "-0.0", "007", "2147483647", "2147483648", "-2147483648"]
    ),
    st.decimals(-1_000_000, 1_000_000, places=6).map(lambda number: f"{number:f}"),
    st.decimals(0, 1, places=6).map(lambda number: f"{number:f}"),
)


@pytest.mark.parametrize(
    ("text", "value_type", "shaped"),
    [
        ("5.0", "INTEGER", "5"),
        ("-3.000", "INTEGER_NEGATIVE", "-3"),
        ("0", "INTEGER_ZERO_OR_POSITIVE", "0"),
        ("-0", "INTEGER_ZERO_OR_POSITIVE", "0"),
        ("1", "INTEGER_POSITIVE", "1"),
        ("2147483647", "INTEGER", "2147483647"),
        ("156.666667", "NUMBER", "156.666667"),
        ("156.50", "NUMBER", "156.5"),
        ("0.0", "NUMBER", "0"),
        ("100", "PERCENTAGE", "100"),
        ("0.25", "UNIT_INTERVAL", "0.25"),
        ("1", "BOOLEAN", "true"),
        ("0.0", "BOOLEAN", "false"),
        ("1.0", "TRUE_ONLY", "true"),
        ("5.0", "TEXT", "5.0"),
        ("5.0", "LONG_TEXT", "5.0"),
        ("-7", "A_TYPE_OF_THE_FUTURE", "-7"),
    ],
)
def test_written_form(text: str, value_type: str, shaped: str) -> None:
    assert shape(text, value_type) == shaped


@pytest.mark.parametrize("value_type", WHOLE)
def test_fraction_refused(value_type: str) -> None:
    text = "-2.5" if value_type == "INTEGER_NEGATIVE" else "2.5"
    reason = shape(text, value_type, "DOS_1")
    assert isinstance(reason, Reason)
    assert reason.code == FRACTION
    assert "2.5" in reason.text
    assert "DOS_1" in reason.text


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("-1", "INTEGER_POSITIVE"),
        ("0", "INTEGER_POSITIVE"),
        ("-0.5", "INTEGER_ZERO_OR_POSITIVE"),
        ("0", "INTEGER_NEGATIVE"),
        ("2147483648", "INTEGER"),
        ("-2147483649", "INTEGER"),
        ("100.1", "PERCENTAGE"),
        ("-1", "PERCENTAGE"),
        ("1.01", "UNIT_INTERVAL"),
        ("2", "BOOLEAN"),
        ("2", "TRUE_ONLY"),
        ("abc", "NUMBER"),
        ("1e3", "NUMBER"),
        ("", "NUMBER"),
        ("٣", "INTEGER"),
    ],
)
def test_impossible_value_refused(text: str, value_type: str) -> None:
    reason = shape(text, value_type, "SOH_1")
    assert isinstance(reason, Reason)
    assert reason.code == "E7619"
    assert reason.text.startswith("Value must match value type of data element `SOH_1`: `")
    element = DataElement(id="abcdefghij1", code="SOH_1", name="x", value_type=value_type)
    assert all(normalise(text, element, version) is None for version in Version)


def test_zero_of_yes_only() -> None:
    reason = shape("0.0", "TRUE_ONLY", "OUT_1")
    assert isinstance(reason, Reason)
    assert reason.code == TRUE_ONLY


@given(number_texts, st.sampled_from(TYPES))
def test_accepted_by_every_version(text: str, value_type: str) -> None:
    shaped = shape(text, value_type)
    element = DataElement(id="abcdefghij1", code="E", name="E", value_type=value_type)
    if isinstance(shaped, Reason):
        # Older servers refuse the text as well; what they would take is never refused here.
        assert normalise(text, element, Version.V2_42) is None or shaped.code == TRUE_ONLY
        return
    stored = {normalise(shaped, element, version) for version in Version}
    assert stored == {shaped}
    assert Decimal({"true": "1", "false": "0"}.get(shaped, shaped)) == Decimal(text)
