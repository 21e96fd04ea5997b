"""What is set up on the stand-in: org units, data elements, category combos, data sets and users."""

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import cached_property
from string import ascii_letters, digits
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from sandbox.dhis2.periods import PERIOD_TYPES, Period

DEFAULT_CATEGORY_COMBO_ID = "bjDvmb4bfuf"
DEFAULT_OPTION_COMBO_ID = "HllvX50cXC0"
"""The UIDs of the category combo and option combo "default", the same on every DHIS2."""

ALL_AUTHORITIES = "ALL"
MAY_ADD_DATA_VALUES = "F_DATAVALUE_ADD"
MAY_EDIT_EXPIRED = "F_EDIT_EXPIRED"

_UID = re.compile(r"[a-zA-Z][a-zA-Z0-9]{10}")


def uid(kind: str, code: str) -> str:
    """Make the UID of an object from its kind and code: always the same, 11 characters, a letter first."""
    number = int.from_bytes(hashlib.sha256(f"{kind} {code}".encode()).digest())
    number, letter = divmod(number, len(ascii_letters))
    characters = [ascii_letters[letter]]
    alphabet = ascii_letters + digits
    for _ in range(10):
        number, position = divmod(number, len(alphabet))
        characters.append(alphabet[position])
    return "".join(characters)


def is_uid(text: str) -> bool:
    """Whether the text has the shape of a UID."""
    return _UID.fullmatch(text) is not None


class Model(BaseModel):
    """What is set up: fixed once made, with no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __copy__(self) -> Self:
        # A changed copy (model_copy) must not inherit the indexes of what it was copied from.
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Identified(Protocol):
    """What every kind of object has."""

    @property
    def id(self) -> str: ...  # noqa: D102 - the class says it

    @property
    def code(self) -> str | None: ...  # noqa: D102 - the class says it


class OrgUnit(Model):
    """An org unit; ``path`` is the ids from the root down to itself, each after a slash."""

    id: str
    code: str | None
    name: str
    path: str
    opening_date: date = date(2000, 1, 1)
    closed_date: date | None = None

    def is_within(self, org_unit_ids: Iterable[str]) -> bool:
        """Whether it is one of these org units or below one of them."""
        return not set(org_unit_ids).isdisjoint(self.path.split("/"))


class CategoryOption(Model):
    """One category option, such as "Stock on hand".

    Attributes
    ----------
    start_date, end_date
        The days for which values may be entered; ``None`` is no limit.
    org_unit_ids
        The org units for which, and for those below which, values may be entered; none is no limit.
    writers
        The names of the users who may enter data; ``None`` is everyone.
    """

    id: str
    code: str | None
    name: str
    start_date: date | None = None
    end_date: date | None = None
    org_unit_ids: tuple[str, ...] = ()
    writers: tuple[str, ...] | None = None

    def may_be_written_by(self, user: "User") -> bool:
        """Whether the user has data write access to it."""
        return self.writers is None or user.is_superuser or user.username in self.writers

    def is_valid_in(self, period: Period) -> bool:
        """Whether its dates have a day of the period."""
        return (self.start_date is None or self.start_date <= period.last) and (
            self.end_date is None or period.first <= self.end_date
        )

    def is_valid_throughout(self, period: Period) -> bool:
        """Whether its dates have all days of the period."""
        return (self.start_date is None or self.start_date <= period.first) and (
            self.end_date is None or period.last <= self.end_date
        )

    def is_valid_for(self, org_unit: OrgUnit) -> bool:
        """Whether the org unit is one of its own or below one of them."""
        return not self.org_unit_ids or org_unit.is_within(self.org_unit_ids)


class CategoryOptionCombo(Model):
    """One combination of category options; what a data value can name."""

    id: str
    code: str | None
    name: str
    category_option_ids: tuple[str, ...] = ()


class CategoryCombo(Model):
    """A category combo with its option combos."""

    id: str
    code: str | None
    name: str
    option_combos: tuple[CategoryOptionCombo, ...]

    def has(self, option_combo_id: str) -> bool:
        """Whether the option combo is one of its own."""
        return any(combo.id == option_combo_id for combo in self.option_combos)


DEFAULT_CATEGORY_COMBO = CategoryCombo(
    id=DEFAULT_CATEGORY_COMBO_ID,
    code="default",
    name="default",
    option_combos=(CategoryOptionCombo(id=DEFAULT_OPTION_COMBO_ID, code="default", name="default"),),
)


class OptionSet(Model):
    """An option set; ``options`` are the codes that a value may be."""

    id: str
    code: str | None
    name: str
    options: tuple[str, ...]


class DataElement(Model):
    """A data element; types as DHIS2 names them (``NUMBER``, ``LAST``)."""

    id: str
    code: str | None
    name: str
    value_type: str = "NUMBER"
    aggregation_type: str = "LAST"
    zero_is_significant: bool = True
    category_combo_id: str = DEFAULT_CATEGORY_COMBO_ID
    option_set_id: str | None = None


class DataInputPeriod(Model):
    """A period that a data set may be filled in for, and the days on which."""

    period: str
    opening_date: date | None = None
    closing_date: date | None = None

    def is_open_on(self, day: date) -> bool:
        """Whether values may be entered on that day."""
        return (self.opening_date is None or self.opening_date <= day) and (
            self.closing_date is None or day <= self.closing_date
        )


class LockException(Model):
    """An org unit that may fill in a data set for a period although the days of grace are over."""

    data_set_id: str
    org_unit_id: str
    period: str


class Approval(Model):
    """Data of a workflow's data sets that are approved: of an org unit and those below it, for a period.

    The default attribute option combo is meant.
    """

    workflow_id: str
    org_unit_id: str
    period: str


class DataSet(Model):
    """A data set.

    Attributes
    ----------
    writers
        The names of the users who may enter data; ``None`` is everyone.
    workflow_id
        The approval workflow, where it has one.
    category_combo_overrides
        Category combos that data elements have in this data set instead of their own, by the data elements' UIDs.
    """

    id: str
    code: str | None
    name: str
    period_type: str = "Monthly"
    open_future_periods: int = 0
    expiry_days: int = 0
    data_input_periods: tuple[DataInputPeriod, ...] = ()
    category_combo_id: str = DEFAULT_CATEGORY_COMBO_ID
    data_element_ids: tuple[str, ...] = ()
    org_unit_ids: tuple[str, ...] = ()
    writers: tuple[str, ...] | None = None
    workflow_id: str | None = None
    category_combo_overrides: dict[str, str] = Field(default_factory=dict)

    @field_validator("period_type")
    @classmethod
    def _known_period_type(cls, period_type: str) -> str:
        if period_type not in PERIOD_TYPES:
            raise ValueError(f"{period_type} is none of {', '.join(PERIOD_TYPES)}")
        return period_type

    @cached_property
    def holds(self) -> frozenset[str]:
        """The UIDs of its data elements and of the org units that it is assigned to."""
        return frozenset((*self.data_element_ids, *self.org_unit_ids))

    def may_be_written_by(self, user: "User") -> bool:
        """Whether the user has data write access to it."""
        return self.writers is None or user.is_superuser or user.username in self.writers


class MetadataAccess(StrEnum):
    """Whether a user may read what is set up. Pushing needs no such right."""

    READABLE = "readable"
    HIDDEN = "hidden"
    """Lists are empty, and what is asked for by its id is not found."""
    FORBIDDEN = "forbidden"
    """Everything is answered with a 403."""


class User(Model):
    """Someone who can log in; without ``org_unit_ids`` the user reaches every org unit.

    ``account_expires`` is the first day on which the account no longer works.
    """

    username: str
    password: SecretStr
    authorities: tuple[str, ...] = (ALL_AUTHORITIES,)
    org_unit_ids: tuple[str, ...] | None = None
    id: str = ""
    first_name: str = "Stand-in"
    surname: str = "User"
    disabled: bool = False
    account_expires: date | None = None
    metadata_access: MetadataAccess = MetadataAccess.READABLE

    @property
    def uid(self) -> str:
        """The user's UID: the one given, or one made from the name."""
        return self.id or uid("user", self.username)

    @property
    def is_superuser(self) -> bool:
        """Whether the user may do everything."""
        return ALL_AUTHORITIES in self.authorities

    def may(self, authority: str) -> bool:
        """Whether the user has the authority."""
        return self.is_superuser or authority in self.authorities

    def reaches(self, org_unit: OrgUnit) -> bool:
        """Whether the org unit is in the user's hierarchy."""
        return self.reaches_path(org_unit.path)

    def reaches_path(self, path: str) -> bool:
        """Whether the org unit with this path is in the user's hierarchy."""
        return self.org_unit_ids is None or not set(self.org_unit_ids).isdisjoint(path.split("/"))


class Index[T: Identified]:
    """Objects of one kind, found by UID or by code (exact, case sensitive)."""

    def __init__(self, objects: Iterable[T]) -> None:
        self.all = tuple(objects)
        self._by_id = {thing.id: thing for thing in self.all}
        self._by_code = {thing.code: thing for thing in self.all if thing.code is not None}

    def by_id(self, identifier: str | None) -> T | None:
        """Return the object with this UID."""
        return None if identifier is None else self._by_id.get(identifier)

    def by_scheme(self, scheme: str, identifier: str | None) -> T | None:
        """Return the object that the identifier means in the scheme ``UID`` or ``CODE``; other schemes know none."""
        if identifier is None:
            return None
        return {"UID": self._by_id, "CODE": self._by_code}.get(scheme, {}).get(identifier)


class SystemSettings(Model):
    """What DHIS2's System Settings app has.

    The first two are for data imports; from 2.43 they are not looked at. ``output_period_types`` is there from 2.43 on.
    """

    require_category_option_combo: bool = False
    require_attribute_option_combo: bool = False
    include_zero_values_in_analytics: bool = False
    output_period_types: tuple[str, ...] = ()


class Metadata(Model):
    """Everything that is set up, as one JSON document (``model_dump_json``, ``model_validate_json``).

    Attributes
    ----------
    calendar
        Only said: periods are read in the ISO calendar all the same.
    documents
        What was imported, as it came: by kind (``dataElements``) and UID. Of the kinds that are listed here, what
        the others have no place for; of all others, such as dashboards, everything.
    """

    calendar: str = "iso8601"
    system_settings: SystemSettings = SystemSettings()
    org_units: tuple[OrgUnit, ...] = ()
    category_options: tuple[CategoryOption, ...] = ()
    category_combos: tuple[CategoryCombo, ...] = (DEFAULT_CATEGORY_COMBO,)
    data_elements: tuple[DataElement, ...] = ()
    data_sets: tuple[DataSet, ...] = ()
    option_sets: tuple[OptionSet, ...] = ()
    lock_exceptions: tuple[LockException, ...] = ()
    approvals: tuple[Approval, ...] = ()
    documents: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)

    @cached_property
    def kind_of_document(self) -> dict[str, str]:
        """The kind of each object of ``documents``, by its UID."""
        return {identifier: kind for kind, all_of_it in self.documents.items() for identifier in all_of_it}

    @cached_property
    def org_unit(self) -> Index[OrgUnit]:
        """The org units by identifier."""
        return Index(self.org_units)

    @cached_property
    def category_option(self) -> Index[CategoryOption]:
        """The category options by identifier."""
        return Index(self.category_options)

    @cached_property
    def category_combo(self) -> Index[CategoryCombo]:
        """The category combos by identifier."""
        return Index(self.category_combos)

    @cached_property
    def option_combo(self) -> Index[CategoryOptionCombo]:
        """The option combos of all category combos by identifier."""
        return Index(option for combo in self.category_combos for option in combo.option_combos)

    @cached_property
    def data_element(self) -> Index[DataElement]:
        """The data elements by identifier."""
        return Index(self.data_elements)

    @cached_property
    def option_set(self) -> Index[OptionSet]:
        """The option sets by identifier."""
        return Index(self.option_sets)

    @cached_property
    def data_set(self) -> Index[DataSet]:
        """The data sets by identifier."""
        return Index(self.data_sets)

    @cached_property
    def _data_sets_of_element(self) -> dict[str, list[DataSet]]:
        found: dict[str, list[DataSet]] = {}
        for data_set in self.data_sets:
            for data_element_id in data_set.data_element_ids:
                found.setdefault(data_element_id, []).append(data_set)
        return found

    def data_sets_of(self, data_element: DataElement) -> list[DataSet]:
        """Return the data sets that hold the data element."""
        return self._data_sets_of_element.get(data_element.id, [])

    def combo_of(self, thing: DataElement | DataSet) -> CategoryCombo:
        """Return the category combo of a data element or data set."""
        return self.category_combo.by_id(thing.category_combo_id) or DEFAULT_CATEGORY_COMBO

    def combo_within(self, data_set: DataSet, data_element: DataElement) -> CategoryCombo:
        """Return the category combo that the data element has in this data set."""
        override = self.category_combo.by_id(data_set.category_combo_overrides.get(data_element.id))
        return override or self.combo_of(data_element)

    def combos_of(self, data_element: DataElement) -> list[CategoryCombo]:
        """Return the category combos that the data element has, by itself and in its data sets."""
        data_sets = self.data_sets_of(data_element)
        return [
            self.combo_of(data_element),
            *(self.combo_within(data_set, data_element) for data_set in data_sets),
        ]

    def is_approved(self, workflow_id: str | None, org_unit: OrgUnit, period: str) -> bool:
        """Whether the data of an org unit and period are approved."""
        return any(
            approval.workflow_id == workflow_id
            and approval.period == period
            and org_unit.is_within([approval.org_unit_id])
            for approval in self.approvals
        )

    def options_of(self, option_combo_id: str) -> list[CategoryOption]:
        """Return the category options of an option combo."""
        combo = self.option_combo.by_id(option_combo_id)
        found = (
            (self.category_option.by_id(option_id) for option_id in combo.category_option_ids)
            if combo
            else ()
        )
        return [option for option in found if option is not None]

    def combo_of_option_combo(self, option_combo_id: str) -> CategoryCombo:
        """Return the category combo that the option combo belongs to."""
        return next(combo for combo in self.category_combos if combo.has(option_combo_id))
