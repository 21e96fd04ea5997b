"""What DHIS2 has set up for the values: the data set, its data elements, org units and option combos, the user.

Only what decides whether a value fits is kept, in the words of DHIS2's own metadata.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Protocol

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.errors import Dhis2PermanentError

NEWEST = (2, 43)
"""The newest version whose behaviour is known."""

_LAST_INVERTED_PATCH = 1
_VERSION = re.compile(r"(?:2\.)?(\d\d)(?!\d)(?:\.(\d+))?")

type Query = Mapping[str, str | Sequence[str]]
"""The parameters of an address; a list stands for a parameter that is there several times."""


class ReadsDhis2(Protocol):
    """What reading needs of a DHIS2 client."""

    def get(self, path: str, params: Query | None = None) -> object:
        """Read something below the address of DHIS2."""


class Answered(BaseModel):
    """An object in an answer, its fields named as in Python; fields that are not of interest are left out."""

    # A model is built when the first answer is read by it: one invocation reads few of them.
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, defer_build=True)


def parse[Model: Answered](model: type[Model], answer: object, path: str) -> Model:
    """Read an answer; raise ``Dhis2PermanentError`` where it has not the shape that it should have."""
    try:
        # What the parts of an answer share is kept in the context.
        return model.model_validate(answer, context={})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the answer"
    # Outside the except clause: what pydantic says shows the whole answer.
    raise _not_understood(path, place, fault["msg"])


def parse_list[Model: Answered](model: type[Model], answer: object, path: str) -> tuple[Model, ...]:
    """Read a list, which stands in the answer under the last part of the path; what answers without it is not DHIS2's."""
    name = path.rpartition("/")[2]
    things = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(things, list):
        raise _not_understood(path, name, "There is no such list")
    return tuple([parse(model, thing, path) for thing in things])


def _not_understood(path: str, place: str, said: str) -> Dhis2PermanentError:
    return Dhis2PermanentError(
        f"DHIS2 answered {path} in a way that is not understood: {place} is not what it should be "
        f"({said}). Check URL, and that no proxy changes what DHIS2 answers."
    )


def _day(value: object) -> object:
    """Take the day of an instant, and nothing for a text that is none: then no date limits anything."""
    try:
        return date.fromisoformat(str(value)[:10]) if value is not None else None
    except ValueError:
        return None


def _uid(value: object) -> object:
    return value.get("id") if isinstance(value, dict) else None


def _shared(value: object, read: Callable[[object], object], info: ValidationInfo) -> object:
    """Read a category combo once, however many data elements have it."""
    known, name = info.context, _uid(value)
    if known is None or not isinstance(name, str):
        return read(value)
    if name not in known:
        known[name] = read(value)
    return known[name]


type Day = Annotated[date | None, BeforeValidator(_day)]
type Reference = Annotated[str, BeforeValidator(_uid)]
"""An object of which only the UID is told."""

_MAY_WRITE = AliasPath("access", "data", "write")


class Identified(Answered):
    """An object of DHIS2: its UID, its code if it has one, and its name."""

    id: str
    code: str | None = None
    name: str = ""

    def identifier(self, scheme: Scheme) -> str | None:
        """Return what identifies it in a scheme."""
        return self.id if scheme is Scheme.UID else self.code

    def is_called(self, identifier: str, scheme: Scheme) -> bool:
        """Whether an identifier of a scheme means this object; codes are case sensitive."""
        return identifier == self.identifier(scheme)


def by_identifier[Thing: Identified](things: Iterable[Thing], scheme: Scheme) -> dict[str, Thing]:
    """Return those that a scheme identifies, by what it calls them."""
    named = ((thing.identifier(scheme), thing) for thing in things)
    return {identifier: thing for identifier, thing in named if identifier is not None}


class OptionCombo(Identified):
    """A category option combo, of data elements or (as an attribute option combo) of data sets.

    ``category_combo`` is the UID of what it belongs to. It and the category options are told where it was asked for by itself.
    """

    category_combo: str = Field("", validation_alias=AliasPath("categoryCombo", "id"))
    category_options: tuple["CategoryOption", ...] = ()


class CategoryCombo(Answered):
    """A category combo with its option combos."""

    id: str
    category_option_combos: tuple[OptionCombo, ...] = ()

    @cached_property
    def by_scheme(self) -> Mapping[Scheme, Mapping[str, OptionCombo]]:
        """Its option combos by their identifiers in each scheme."""
        return {scheme: by_identifier(self.category_option_combos, scheme) for scheme in Scheme}


class CategoryOption(Identified):
    """A category option of an option combo, and for when, where (``org_units`` and below; none is no limit) and whom."""

    start_date: Day = None
    end_date: Day = None
    org_units: tuple[Reference, ...] = Field((), alias="organisationUnits")
    may_write: bool | None = Field(None, validation_alias=_MAY_WRITE)
    """``None`` where the server does not say."""


class HasCategoryCombo(Identified):
    """What option combos are of: a data element, or a data set."""

    category_combo: Annotated[CategoryCombo | None, WrapValidator(_shared)] = None

    @property
    def option_combos(self) -> tuple[OptionCombo, ...]:
        """Those of its category combo; the attribute option combos of a data set."""
        return self.category_combo.category_option_combos if self.category_combo else ()

    def find_combo(self, identifier: str | None, scheme: Scheme) -> OptionCombo | None:
        """Find one of them; where none is named, the only one that there is."""
        if identifier is not None:
            return self.category_combo.by_scheme[scheme].get(identifier) if self.category_combo else None
        return self.option_combos[0] if len(self.option_combos) == 1 else None


class _Membership(Answered):
    data_set: Annotated[str | None, BeforeValidator(_uid)] = None


class DataElement(HasCategoryCombo):
    """A data element. Its category combo is its own, or the one that the data set has for it instead."""

    value_type: str
    aggregation_type: str = "NONE"
    zero_is_significant: bool = False
    has_option_set: Annotated[bool, BeforeValidator(lambda value: value is not None)] = Field(
        default=False, alias="optionSet"
    )
    memberships: tuple[_Membership, ...] = Field((), alias="dataSetElements")

    def is_in_another_than(self, data_set_id: str) -> bool:
        """Whether it is in another data set too. Up to 2.42 the open periods of each may count for it."""
        return any(each.data_set not in {data_set_id, None} for each in self.memberships)


def _element_of_data_set(entry: object) -> object:
    """Take the data element of an entry, with the category combo that the data set has for it."""
    if not isinstance(entry, dict):
        return entry
    element, combo = entry.get("dataElement"), entry.get("categoryCombo")
    return {**element, "categoryCombo": combo} if combo and isinstance(element, dict) else element


class OrgUnit(Identified):
    """An org unit. ``path`` is the UIDs from the root down to itself, each after a slash."""

    path: str = ""
    opening_date: Day = None
    closed_date: Day = None


class InputPeriod(Answered):
    """A period that a data set may be filled in for, and from when to when."""

    period: Reference
    opening_date: Day = None
    closing_date: Day = None


class DataSet(HasCategoryCombo):
    """The data set that the values belong to.

    ``may_write`` is ``None`` where the server does not say. ``workflow`` is the UID of its approval workflow.
    ``open_periods_after_end`` is for how many periods a category option is valid beyond its end date.
    """

    period_type: str
    open_future_periods: int = 0
    open_periods_after_end: int = Field(0, alias="openPeriodsAfterCoEndDate")
    expiry_days: float = 0
    input_periods: tuple[InputPeriod, ...] = Field((), alias="dataInputPeriods")
    workflow: Reference | None = None
    may_write: bool | None = Field(None, validation_alias=_MAY_WRITE)
    data_elements: tuple[Annotated[DataElement, BeforeValidator(_element_of_data_set)], ...] = Field(
        (), alias="dataSetElements"
    )
    org_units: tuple[OrgUnit, ...] = Field((), alias="organisationUnits")


class User(Answered):
    """Who is logged in. ``org_units`` are the UIDs of those in which, and below which, data may be entered."""

    id: str
    # Up to 2.37 it stands elsewhere.
    username: str = Field(
        validation_alias=AliasChoices("username", AliasPath("userCredentials", "username"), "id")
    )
    authorities: frozenset[str] = frozenset()
    org_units: tuple[Reference, ...] = Field((), alias="organisationUnits")

    def may(self, authority: str) -> bool:
        """Whether the user has an authority, or all of them."""
        return authority in self.authorities or "ALL" in self.authorities

    def is_kept_out_of(self, org_unit: OrgUnit) -> bool:
        """Whether the org unit surely lies outside the part of the hierarchy in which the user may enter data."""
        told = "ALL" not in self.authorities and bool(self.org_units) and bool(org_unit.path)
        return told and set(self.org_units).isdisjoint(org_unit.path.split("/"))


class Server(Answered):
    """The server. ``calendar`` is ``iso8601`` nearly everywhere; ``server_date`` is in the server's time zone."""

    name: Annotated[str, BeforeValidator(lambda name: name or "DHIS2")] = Field("DHIS2", alias="systemName")
    version_text: str = Field("unknown", alias="version")
    calendar: str = "iso8601"
    server_date: Annotated[datetime, AfterValidator(lambda instant: instant.replace(tzinfo=None))]

    @cached_property
    def _release(self) -> re.Match[str] | None:
        """Read ``2.42.5.2``, ``2.43-SNAPSHOT`` or ``43.1``; all are 2.something."""
        return _VERSION.match(self.version_text.strip())

    @property
    def is_known_version(self) -> bool:
        """Whether the version was understood, rather than taken for the newest."""
        return self._release is not None

    @cached_property
    def version(self) -> tuple[int, int]:
        """Such as ``(2, 42)``; that of the newest known where it cannot be understood.

        What only that does (refuse many values for one) is then expected, and nothing is held back for what only older ones
        do (drop zeros).
        """
        return (2, int(self._release[1])) if self._release else NEWEST

    @property
    def has_iso_calendar(self) -> bool:
        """Whether its periods are those of the ISO calendar; in another one the same label means another month."""
        return self.calendar in {"iso8601", "gregorian"}

    @property
    def imports_by_group(self) -> bool:
        """Whether one wrong value can refuse all others (2.43 and later), instead of row by row."""
        return self.version >= (2, 43)

    @property
    def most_values_of_a_call(self) -> int | None:
        """How many values a call should hold at most: from 2.43 more of them are slower (5,000 take 1.7 times as long)."""
        return 1_250 if self.imports_by_group else None

    @property
    def drops_zeros(self) -> bool:
        """Whether zeros of data elements whose zero is not significant vanish (up to 2.42)."""
        return self.version < (2, 43)

    @property
    def inverts_input_periods(self) -> bool:
        """Whether a data input period is refused while it is open, and taken while it is closed.

        So do 2.43.0, 2.43.1 and their patches (DHIS2-21981, fixed in 2.43.2).
        """
        release = self._release
        return release is not None and release[1] == "43" and int(release[2] or 0) <= _LAST_INVERTED_PATCH
