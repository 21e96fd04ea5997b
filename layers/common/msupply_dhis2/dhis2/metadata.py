"""What DHIS2 has set up for the values: the data set, its data elements, org units and option combos, the user.

Only what decides whether a value fits is kept, in the words of DHIS2's own metadata.
"""

from dataclasses import dataclass
from datetime import date, datetime

from msupply_dhis2.settings import Scheme


@dataclass(frozen=True, slots=True)
class Identified:
    """An object of DHIS2: its UID, its code if it has one, and its name."""

    id: str
    code: str | None
    name: str

    def is_called(self, identifier: str, scheme: Scheme) -> bool:
        """Whether an identifier of a scheme means this object; codes are case sensitive."""
        return identifier == (self.id if scheme is Scheme.UID else self.code)


@dataclass(frozen=True, slots=True)
class OptionCombo(Identified):
    """A category option combo, of data elements or (as an attribute option combo) of data sets."""

    category_combo: str
    """UID of the category combo that it belongs to."""


@dataclass(frozen=True, slots=True)
class DataElement(Identified):
    """A data element of the data set.

    ``option_combos`` are those of its category combo, or of the one that the data set has for it instead.
    """

    value_type: str
    aggregation_type: str
    zero_is_significant: bool
    has_option_set: bool
    option_combos: tuple[OptionCombo, ...]


@dataclass(frozen=True, slots=True)
class OrgUnit(Identified):
    """An org unit. ``path`` is the UIDs from the root down to itself, each after a slash."""

    path: str
    opening_date: date | None
    closed_date: date | None


@dataclass(frozen=True, slots=True)
class InputPeriod:
    """A period that a data set may be filled in for, and from when to when."""

    period: str
    opening_date: date | None
    closing_date: date | None


@dataclass(frozen=True, slots=True)
class DataSet(Identified):
    """The data set that the values belong to.

    ``option_combos`` are those of its own category combo: the attribute option combos. ``may_write`` is
    ``None`` where the server does not say.
    """

    period_type: str
    open_future_periods: int
    expiry_days: float
    input_periods: tuple[InputPeriod, ...]
    has_approval: bool
    may_write: bool | None
    option_combos: tuple[OptionCombo, ...]
    data_elements: tuple[DataElement, ...]
    org_units: tuple[OrgUnit, ...]


@dataclass(frozen=True, slots=True)
class User:
    """Who is logged in. ``org_units`` are the UIDs of those in which, and below which, data may be entered."""

    id: str
    username: str
    authorities: frozenset[str]
    org_units: tuple[str, ...]

    def may(self, authority: str) -> bool:
        """Whether the user has an authority, or all of them."""
        return authority in self.authorities or "ALL" in self.authorities

    def reaches(self, org_unit: OrgUnit) -> bool:
        """Whether the org unit is one of the user's own or below one of them."""
        return not set(self.org_units).isdisjoint(org_unit.path.split("/"))


@dataclass(frozen=True, slots=True)
class Server:
    """The server. ``version`` is ``(2, 42)``; ``calendar`` ``iso8601`` nearly everywhere."""

    name: str
    version_text: str
    version: tuple[int, int]
    calendar: str
    server_date: datetime

    @property
    def imports_by_group(self) -> bool:
        """Whether one wrong value can refuse all others (2.43 and later), instead of row by row."""
        return self.version >= (2, 43)

    @property
    def drops_zeros(self) -> bool:
        """Whether zeros of data elements whose zero is not significant vanish (up to 2.42)."""
        return self.version < (2, 43)
