"""Which values the stand-in takes, and how it stores them."""

import pytest

from sandbox.dhis2 import Version
from sandbox.dhis2.metadata import DataElement
from sandbox.dhis2.values import is_vanishing_zero, normalise


def element(value_type: str, **more: object) -> DataElement:
    return DataElement.model_validate(
        {"id": "abcdefghij1", "code": "A", "name": "A", "value_type": value_type, **more}
    )


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        ("NUMBER", "0"),
        ("NUMBER", "-0.5"),
        ("NUMBER", "123456789012345678901234567890"),
        ("INTEGER", "-2147483648"),
        ("INTEGER_POSITIVE", "1"),
        ("INTEGER_ZERO_OR_POSITIVE", "0"),
        ("INTEGER_NEGATIVE", "-1"),
        ("PERCENTAGE", "100"),
        ("UNIT_INTERVAL", "0.5"),
        ("TEXT", " anything at all "),
    ],
)
def test_stored_as_sent(value_type: str, value: str) -> None:
    for version in Version:
        assert normalise(value, element(value_type), version) == value


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        ("NUMBER", "1e3"),
        ("NUMBER", "021"),
        ("NUMBER", ".5"),
        ("NUMBER", "+5"),
        ("NUMBER", "1,000"),
        ("INTEGER", "2147483648"),
        ("INTEGER", "5.5"),
        ("INTEGER_POSITIVE", "0"),
        ("INTEGER_ZERO_OR_POSITIVE", "-1"),
        ("INTEGER_NEGATIVE", "0"),
        ("PERCENTAGE", "100.1"),
        ("UNIT_INTERVAL", "1.1"),
        ("BOOLEAN", "2"),
        ("TRUE_ONLY", "false"),
    ],
)
def test_other_type_refused(value_type: str, value: str) -> None:
    for version in Version:
        assert normalise(value, element(value_type), version) is None


@pytest.mark.parametrize(
    ("value", "stored"), [("1", "true"), ("0", "false"), ("TRUE", "true"), ("f", "false")]
)
def test_boolean_forms(value: str, stored: str) -> None:
    for version in Version:
        assert normalise(value, element("BOOLEAN"), version) == stored


def test_more_forms_from_2_43() -> None:
    assert normalise("5.0", element("INTEGER"), Version.V2_42) is None
    assert normalise("5.0", element("INTEGER"), Version.V2_43) == "5"
    assert normalise("yes", element("BOOLEAN"), Version.V2_42) is None
    assert normalise("yes", element("BOOLEAN"), Version.V2_43) == "true"
    assert normalise("no", element("BOOLEAN"), Version.V2_43) == "false"


@pytest.mark.parametrize(
    ("vanishes", "value", "more"),
    [
        (True, "0", {}),
        (True, "0.00", {}),
        (False, "0", {"zero_is_significant": True}),
        (False, "0", {"aggregation_type": "AVERAGE_SUM_ORG_UNIT"}),
        (False, "0", {"value_type": "TEXT"}),
        (False, "0.1", {}),
        (False, "", {}),
    ],
)
def test_insignificant_zero(
    vanishes: bool,  # noqa: FBT001 - a column of the table
    value: str,
    more: dict[str, object],
) -> None:
    settings = {"value_type": "NUMBER", "zero_is_significant": False, **more}
    assert is_vanishing_zero(value, element(**settings)) is vanishes  # type: ignore[arg-type]
