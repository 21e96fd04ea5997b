"""The model of real servers' rates, beside what was measured of them: seconds of ten calls of 1,000 new values."""

import pytest

from sandbox.dhis2.payload import Push, Row, Schemes
from sandbox.dhis2.rates import rates_of
from sandbox.dhis2.versions import Version

PERIODS = {"strictPeriods": "true"}
STRICT = PERIODS | {"strictDataElements": "true", "strictOrganisationUnits": "true"}


def call_of(org_units: int, elements: int, options: dict[str, str]) -> Push:
    rows = tuple(
        Row(f"DE{element}", "202601", f"OU{org_unit}", None, None, "1", None, None, deleted=False)
        for org_unit in range(org_units)
        for element in range(elements)
    )
    return Push(rows, "SET", Schemes(*5 * ["UID"]), None, options)


@pytest.mark.parametrize(
    ("version", "measured"),
    [
        (Version.V2_40, [4.2, 2.5, 3.1, 5.6]),
        (Version.V2_41, [5.0, 2.4, 3.2, 5.3]),
        (Version.V2_42, [6.4, 3.1, 3.2, 6.0]),
        (Version.V2_43, [3.6, 3.8, 4.0, 4.0]),
    ],
)
def test_measured(version: Version, measured: list[float]) -> None:
    calls = [call_of(5, 200, {}), call_of(25, 40, {}), call_of(25, 40, PERIODS), call_of(25, 40, STRICT)]
    assert [10 * rates_of(version).importing(call) for call in calls] == pytest.approx(measured, rel=0.1)


def test_large_calls_of_2_43() -> None:
    rates = rates_of(Version.V2_43)
    assert rates.importing(call_of(50, 100, {})) > 1.5 * 4 * rates.importing(call_of(25, 50, {}))
