"""How long real servers take for data values.

Fitted to what was measured of 2.40.12, 2.41.9.1, 2.42.5.2 and 2.43.1 on idle machines: ten calls of 1,000 new values, as
5 org units x 200 data elements and as 25 x 40, with and without strict flags, and reading 10,000 values at once. Two
connections are served side by side.
"""

from dataclasses import dataclass

from sandbox.dhis2.payload import Push
from sandbox.dhis2.versions import Version

_OF_DATA_SET = ("strictDataElements", "strictOrganisationUnits")


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds for each call, for each distinct data element in it, for each value, and for each value that is read.

    ``strict`` is what a value costs more where DHIS2 is to check its data element or its org unit, ``strict_period`` where its
    period; of a call of more than ``most`` values each costs ``above`` times as much.
    """

    element: float
    value: float
    strict: float
    strict_period: float
    read: float
    call: float = 0.1
    most: int = 1_000_000
    above: float = 1.0

    def importing(self, push: Push) -> float:
        """Return how long an import takes."""
        values = len(push.rows)
        elements = len({row.data_element for row in push.rows})
        seconds = self.value
        seconds += self.strict * any(map(push.flag, _OF_DATA_SET))
        seconds += self.strict_period * push.flag("strictPeriods")
        if values > self.most:
            seconds *= self.above
        return self.call + self.element * elements + values * seconds

    def reading(self, values: int) -> float:
        """Return how long it takes to read so many values."""
        return self.call / 2 + values * self.read


def rates_of(version: Version) -> Rates:
    """Return the rates of a version."""
    return _RATES[max(version, Version.V2_40)]


_RATES = {
    Version.V2_40: Rates(
        element=0.00106, value=0.000108, strict=0.00025, strict_period=0.00006, read=0.000015
    ),
    Version.V2_41: Rates(
        element=0.00163, value=0.000075, strict=0.00021, strict_period=0.00008, read=0.000015
    ),
    Version.V2_42: Rates(
        element=0.00206, value=0.000128, strict=0.00028, strict_period=0.00001, read=0.000015
    ),
    Version.V2_43: Rates(
        element=0, value=0.000275, strict=0, strict_period=0, read=0.000045, most=1_250, above=2.1
    ),
}
