"""What DHIS2 has set up for the values: the data set, its data elements, org units and option combos, the user.

Only what decides whether a value fits is kept, in the words of DHIS2's own metadata. Objects are asked for by
``filter``, never by address: an identifier of a wrong shape in an address is 404 or 405, in a filter it is
nothing found.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Self
from urllib.parse import urlencode

from pydantic import BeforeValidator, model_validator

from msupply_dhis2.dhis2.parsing import Answered, ReadsDhis2, parse
from msupply_dhis2.periods import PeriodFormat
from msupply_dhis2.settings import Scheme

MAXIMUM_QUERY = 6_500
"""Characters of a query: with the server's own part of the address it stays below 7,000 (8,192 are too many)."""

_IDENTIFIERS_A_CALL = 100
_LAST_INVERTED_PATCH = 1
_NEWEST = (2, 43)
_VERSION = re.compile(r"(?:2\.)?(\d\d)(?!\d)(?:\.(\d+))?")
_ISO_CALENDARS = frozenset({"iso8601", "gregorian"})
_BREAKS_A_LIST = re.compile(r"[,\[\]]")


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
class CategoryOption(Identified):
    """A category option of an option combo, and for when, where and whom it takes values.

    ``org_units`` are the UIDs of those for which, and for those below which, it does; none is no limit. ``may_write`` is
    ``None`` where the server does not say.
    """

    start_date: date | None
    end_date: date | None
    org_units: tuple[str, ...]
    may_write: bool | None


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
    in_other_data_sets: bool = False
    """Whether other data sets have it too. Up to 2.42 their open periods may count for it as well."""


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
    ``None`` where the server does not say. ``workflow`` is the UID of its approval workflow.
    ``open_periods_after_end`` is for how many periods a category option is valid beyond its end date.
    """

    period_type: str
    open_future_periods: int
    open_periods_after_end: int
    expiry_days: float
    input_periods: tuple[InputPeriod, ...]
    workflow: str | None
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

    def is_kept_out_of(self, org_unit: OrgUnit) -> bool:
        """Whether the org unit surely lies outside the part of the hierarchy in which the user may enter data."""
        told = "ALL" not in self.authorities and bool(self.org_units) and bool(org_unit.path)
        return told and not self.reaches(org_unit)


@dataclass(frozen=True, slots=True)
class Server:
    """The server.

    ``version`` is ``(2, 42)``, and that of the newest known where ``version_text`` cannot be understood: what it
    alone does (refuse many values for one) is then expected, and nothing is held back for what only older ones
    do (drop zeros). ``calendar`` is ``iso8601`` nearly everywhere; ``server_date`` is in the server's time zone.
    """

    name: str
    version_text: str
    version: tuple[int, int]
    calendar: str
    server_date: datetime

    @property
    def is_known_version(self) -> bool:
        """Whether the version was understood, rather than taken for the newest."""
        return _parse_version(self.version_text) is not None

    @property
    def has_iso_calendar(self) -> bool:
        """Whether its periods are those of the ISO calendar; in another one the same label means another month."""
        return self.calendar in _ISO_CALENDARS

    @property
    def imports_by_group(self) -> bool:
        """Whether one wrong value can refuse all others (2.43 and later), instead of row by row."""
        return self.version >= (2, 43)

    @property
    def drops_zeros(self) -> bool:
        """Whether zeros of data elements whose zero is not significant vanish (up to 2.42)."""
        return self.version < (2, 43)

    @property
    def guards_category_options(self) -> bool:
        """Whether values of a category option that the user may not write are refused; 2.40 takes them."""
        return self.version > (2, 40)

    @property
    def guards_approved_data(self) -> bool:
        """Whether values of approved periods are refused; 2.43.1 stores over them."""
        return self.version < (2, 43)

    @property
    def inverts_input_periods(self) -> bool:
        """Whether a data input period is refused while it is open, and taken while it is closed.

        So do 2.43.0, 2.43.1 and their patches (DHIS2-21981, mended in 2.43.2).
        """
        match = _VERSION.match(self.version_text.strip())
        return match is not None and match[1] == "43" and int(match[2] or 0) <= _LAST_INVERTED_PATCH


def read_server(client: ReadsDhis2) -> Server:
    """Read what the server is, and its date.

    Raises
    ------
    Dhis2Error
        It cannot be read, or is not what DHIS2 answers.
    """
    path = "/api/system/info"
    info = parse(_SystemInfo, client.get(path), path)
    return Server(
        name=info.system_name or "DHIS2",
        version_text=info.version,
        version=_parse_version(info.version) or _NEWEST,
        calendar=info.calendar,
        server_date=info.server_date.replace(tzinfo=None),
    )


def read_user(client: ReadsDhis2) -> User:
    """Read who is logged in.

    Raises
    ------
    Dhis2Error
        It cannot be read, or is not what DHIS2 answers.
    """
    path = "/api/me"
    # The name stands in userCredentials up to 2.37.
    fields = "id,username,userCredentials[username],authorities,organisationUnits[id,code,path]"
    me = parse(_Me, client.get(path, {"fields": fields}), path)
    return User(
        id=me.id,
        username=me.username or me.user_credentials.username or me.id,
        authorities=frozenset(me.authorities),
        org_units=tuple(org_unit.id for org_unit in me.organisation_units),
    )


def list_data_sets(client: ReadsDhis2) -> list[Identified]:
    """Read which data sets the user may see.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/dataSets"
    found = parse(_NamedDataSets, client.get(path, {"fields": "id,code,name", "paging": "false"}), path)
    return [Identified(each.id, each.code, each.name) for each in found.data_sets]


def read_data_set(client: ReadsDhis2, identifier: str, scheme: Scheme) -> DataSet | None:
    """Read a data set with all that belongs to it; ``None`` where there is none, or the user may not see it.

    Raises
    ------
    Dhis2Error
        It cannot be read, or is not what DHIS2 answers.
    """
    path = "/api/dataSets"
    query = {
        "filter": f"{_property(scheme)}:eq:{identifier}",
        "fields": _DATA_SET_FIELDS,
        "paging": "false",
    }
    found = (_data_set(answer) for answer in parse(_DataSetList, client.get(path, query), path).data_sets)
    return next((data_set for data_set in found if data_set.is_called(identifier, scheme)), None)


def find_org_units(client: ReadsDhis2, identifiers: Collection[str], scheme: Scheme) -> tuple[OrgUnit, ...]:
    """Find org units, in or out of data sets; those that there are not are left out.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/organisationUnits"
    return tuple(
        org_unit
        for query in _queries(identifiers, scheme, _ORG_UNIT_FIELDS)
        for answer in parse(_OrgUnitList, client.get(path, query), path).organisation_units
        for org_unit in [_org_unit(answer)]
    )


def find_data_elements(
    client: ReadsDhis2, identifiers: Collection[str], scheme: Scheme
) -> tuple[DataElement, ...]:
    """Find data elements, in or out of data sets; those that there are not are left out.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/dataElements"
    combos = _Combos()
    return tuple(
        _data_element(answer, combos.of(answer.category_combo))
        for query in _queries(identifiers, scheme, _DATA_ELEMENT_FIELDS)
        for answer in parse(_DataElementList, client.get(path, query), path).data_elements
    )


def find_option_combos(
    client: ReadsDhis2, identifiers: Collection[str], scheme: Scheme
) -> tuple[OptionCombo, ...]:
    """Find category option combos, whatever they are used for; those that there are not are left out.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/categoryOptionCombos"
    return tuple(
        _option_combo(answer)
        for query in _queries(identifiers, scheme, _OPTION_COMBO_FIELDS)
        for answer in parse(_OptionComboList, client.get(path, query), path).category_option_combos
    )


def find_category_option(client: ReadsDhis2, identifier: str, scheme: Scheme) -> tuple[OptionCombo, ...]:
    """Find the option combos of a category option, whose identifier is easily taken for theirs.

    Returns
    -------
    tuple of OptionCombo
        None where there is no such category option.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/categoryOptions"
    query = {
        "filter": f"{_property(scheme)}:eq:{identifier}",
        "fields": f"id,code,name,categoryOptionCombos[{_OPTION_COMBO_FIELDS}]",
        "paging": "false",
    }
    found = parse(_CategoryOptionList, client.get(path, query), path).category_options
    return tuple(_option_combo(combo) for option in found for combo in option.category_option_combos)


def find_category_options(
    client: ReadsDhis2, combos: Collection[str]
) -> dict[str, tuple[CategoryOption, ...]]:
    """Find the category options of option combos, by the UIDs of the latter.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/categoryOptionCombos"
    return {
        combo.id: tuple(
            CategoryOption(
                option.id,
                option.code,
                option.name,
                option.start_date,
                option.end_date,
                tuple(org_unit.id for org_unit in option.organisation_units),
                option.access.data.write,
            )
            for option in combo.category_options
        )
        for query in _queries(combos, Scheme.UID, _OPTIONS_OF_COMBO_FIELDS)
        for combo in parse(_OptionsOfCombos, client.get(path, query), path).category_option_combos
    }


def find_approved(
    client: ReadsDhis2, workflow: str, period: str, org_units: Collection[str], combos: Collection[str]
) -> frozenset[str]:
    """Find the org units whose data of a period are approved, by UIDs throughout.

    Parameters
    ----------
    combos
        The attribute option combos; one that is approved is enough. None: the default one.

    Raises
    ------
    Dhis2Error
        It cannot be read, or is not what DHIS2 answers.
    """
    path = "/api/dataApprovals/approvals"
    asked, approved = list(org_units), set()
    for start in range(0, len(asked), _IDENTIFIERS_A_CALL):
        query = {
            "wf": workflow,
            "pe": period,
            "ou": ",".join(asked[start : start + _IDENTIFIERS_A_CALL]),
        } | ({"aoc": ",".join(sorted(combos))} if combos else {})
        answer = parse(_ApprovalList, {"approvals": client.get(path, query)}, path)
        approved |= {each.ou for each in answer.approvals if each.state.startswith(_APPROVED)}
    return frozenset(approved)


def read_system_setting(client: ReadsDhis2, key: str) -> bool:
    """Read a system setting that is on or off; off where the server knows none of that name.

    Raises
    ------
    Dhis2Error
        It cannot be read, or is not what DHIS2 answers.
    """
    path = f"/api/systemSettings/{key}"
    answer = client.get(path)
    return isinstance(answer, dict) and str(answer.get(key)).lower() == "true"


def find_lock_exceptions(client: ReadsDhis2, data_set_id: str) -> frozenset[tuple[str, str]]:
    """Find for what the data set's expiry days do not count.

    Returns
    -------
    frozenset of tuple
        UID of the org unit and the period; ``""`` for the org unit where it stands for all of them.

    Raises
    ------
    Dhis2Error
        They cannot be read, or are not what DHIS2 answers.
    """
    path = "/api/lockExceptions"
    # All fields: from 2.43 a period that is asked for its id answers nothing.
    query = {"filter": f"dataSet.id:eq:{data_set_id}", "fields": "*", "paging": "false"}
    found = parse(_LockExceptionList, client.get(path, query), path).lock_exceptions
    return frozenset(
        (exception.organisation_unit.id if exception.organisation_unit else "", exception.period.label)
        for exception in found
        if exception.data_set is None or exception.data_set.id == data_set_id
    )


def _parse_version(text: str) -> tuple[int, int] | None:
    """Read ``2.42.5.2``, ``2.43-SNAPSHOT`` or ``43.1``; all are 2.something."""
    match = _VERSION.match(text.strip())
    return (2, int(match[1])) if match else None


# Addresses

_ORG_UNIT_FIELDS = "id,code,name,path,openingDate,closedDate"
_OPTION_COMBO_FIELDS = "id,code,name,categoryCombo[id]"
_OPTIONS_OF_COMBO_FIELDS = (
    "id,code,name,categoryOptions[id,code,name,startDate,endDate,organisationUnits[id],access[data[write]]]"
)
_APPROVED = ("APPROVED", "ACCEPTED")
_CATEGORY_COMBO_FIELDS = "categoryCombo[id,categoryOptionCombos[id,code,name]]"
_DATA_ELEMENT_FIELDS = (
    "id,code,name,valueType,aggregationType,zeroIsSignificant,optionSet[id],dataSetElements[dataSet[id]],"
    f"{_CATEGORY_COMBO_FIELDS}"
)
_DATA_SET_FIELDS = (
    "id,code,name,periodType,expiryDays,openFuturePeriods,openPeriodsAfterCoEndDate,"
    "dataInputPeriods[period[id],openingDate,closingDate],workflow[id],access[data[write]],"
    f"{_CATEGORY_COMBO_FIELDS},dataSetElements[{_CATEGORY_COMBO_FIELDS},dataElement[{_DATA_ELEMENT_FIELDS}]],"
    f"organisationUnits[{_ORG_UNIT_FIELDS}]"
)


def _property(scheme: Scheme) -> str:
    return "id" if scheme is Scheme.UID else "code"


def _queries(identifiers: Collection[str], scheme: Scheme, fields: str) -> Iterator[dict[str, str]]:
    """Yield the queries that together ask for all identifiers, each short enough for an address."""

    def query(condition: str) -> dict[str, str]:
        return {"filter": f"{_property(scheme)}:{condition}", "fields": fields, "paging": "false"}

    listed: list[str] = []
    for identifier in dict.fromkeys(identifiers):
        # A list cannot say a comma or a bracket.
        if _BREAKS_A_LIST.search(identifier):
            yield query(f"eq:{identifier}")
            continue
        longer = query(f"in:[{','.join([*listed, identifier])}]")
        if listed and (len(listed) == _IDENTIFIERS_A_CALL or len(urlencode(longer)) > MAXIMUM_QUERY):
            yield query(f"in:[{','.join(listed)}]")
            listed = []
        listed.append(identifier)
    if listed:
        yield query(f"in:[{','.join(listed)}]")


# Answers


def _day(value: object) -> object:
    """Take the day of an instant, and nothing for a text that is none: then no date limits anything."""
    try:
        return date.fromisoformat(str(value)[:10]) if value is not None else None
    except ValueError:
        return None


type _Day = Annotated[date | None, BeforeValidator(_day)]


class _SystemInfo(Answered):
    version: str = "unknown"
    system_name: str | None = None
    calendar: str = "iso8601"
    server_date: datetime


class _Reference(Answered):
    id: str


class _Credentials(Answered):
    username: str | None = None


class _Me(Answered):
    id: str
    username: str | None = None
    user_credentials: _Credentials = _Credentials()
    authorities: tuple[str, ...] = ()
    organisation_units: tuple[_Reference, ...] = ()


class _Named(Answered):
    id: str
    code: str | None = None
    name: str = ""


class _OptionCombo(_Named):
    category_combo: _Reference | None = None


class _NamedDataSets(Answered):
    data_sets: tuple[_Named, ...] = ()


class _CategoryCombo(Answered):
    id: str
    category_option_combos: tuple[_Named, ...] = ()


class _CategoryOption(_Named):
    category_option_combos: tuple[_OptionCombo, ...] = ()


class _Membership(Answered):
    data_set: _Reference | None = None


class _DataElement(_Named):
    value_type: str
    aggregation_type: str = "NONE"
    zero_is_significant: bool = False
    option_set: _Reference | None = None
    category_combo: _CategoryCombo | None = None
    data_set_elements: tuple[_Membership, ...] = ()


class _DataSetElement(Answered):
    category_combo: _CategoryCombo | None = None
    data_element: _DataElement


class _OrgUnit(_Named):
    path: str = ""
    opening_date: _Day = None
    closed_date: _Day = None


class _InputPeriod(Answered):
    period: _Reference
    opening_date: _Day = None
    closing_date: _Day = None


class _DataAccess(Answered):
    write: bool | None = None


class _Access(Answered):
    data: _DataAccess = _DataAccess()


class _CategoryOptionInFull(_Named):
    start_date: _Day = None
    end_date: _Day = None
    organisation_units: tuple[_Reference, ...] = ()
    access: _Access = _Access()


class _OptionsOfCombo(_Named):
    category_options: tuple[_CategoryOptionInFull, ...] = ()


class _Approval(Answered):
    ou: str
    state: str


class _DataSet(_Named):
    period_type: str
    open_future_periods: int = 0
    open_periods_after_co_end_date: int = 0
    expiry_days: float = 0
    data_input_periods: tuple[_InputPeriod, ...] = ()
    workflow: _Reference | None = None
    access: _Access = _Access()
    category_combo: _CategoryCombo | None = None
    data_set_elements: tuple[_DataSetElement, ...] = ()
    organisation_units: tuple[_OrgUnit, ...] = ()


# The lists are insisted upon: what answers without them is not DHIS2's list.


class _OptionsOfCombos(Answered):
    category_option_combos: tuple[_OptionsOfCombo, ...]


class _ApprovalList(Answered):
    approvals: tuple[_Approval, ...]


class _DataSetList(Answered):
    data_sets: tuple[_DataSet, ...]


class _OrgUnitList(Answered):
    organisation_units: tuple[_OrgUnit, ...]


class _DataElementList(Answered):
    data_elements: tuple[_DataElement, ...]


class _OptionComboList(Answered):
    category_option_combos: tuple[_OptionCombo, ...]


class _LockedPeriod(Answered):
    """A period: up to 2.42 its id, which is its label; from 2.43 its type and days only."""

    id: str | None = None
    period_type: str | None = None
    start_date: _Day = None

    @model_validator(mode="after")
    def _has_a_label(self) -> Self:
        if not self.label:
            raise ValueError("it has neither an id nor a period type with a start date")
        return self

    @property
    def label(self) -> str:
        if self.id is not None or self.period_type is None or self.start_date is None:
            return self.id or ""
        return PeriodFormat.parse(self.period_type).label(self.start_date)


class _LockException(Answered):
    data_set: _Reference | None = None
    organisation_unit: _Reference | None = None
    period: _LockedPeriod


class _LockExceptionList(Answered):
    lock_exceptions: tuple[_LockException, ...]


class _CategoryOptionList(Answered):
    category_options: tuple[_CategoryOption, ...]


class _Combos:
    """The option combos of each category combo, kept once however many data elements have it."""

    def __init__(self) -> None:
        self._by_category_combo: dict[str, tuple[OptionCombo, ...]] = {}

    def of(self, combo: _CategoryCombo | None) -> tuple[OptionCombo, ...]:
        if combo is None:
            return ()
        if combo.id not in self._by_category_combo:
            self._by_category_combo[combo.id] = tuple(
                OptionCombo(option.id, option.code, option.name, combo.id)
                for option in combo.category_option_combos
            )
        return self._by_category_combo[combo.id]


def _option_combo(answer: _OptionCombo) -> OptionCombo:
    category_combo = answer.category_combo.id if answer.category_combo else ""
    return OptionCombo(answer.id, answer.code, answer.name, category_combo)


def _org_unit(answer: _OrgUnit) -> OrgUnit:
    return OrgUnit(answer.id, answer.code, answer.name, answer.path, answer.opening_date, answer.closed_date)


def _data_element(
    answer: _DataElement, option_combos: tuple[OptionCombo, ...], data_set_id: str = ""
) -> DataElement:
    data_sets = {membership.data_set.id for membership in answer.data_set_elements if membership.data_set}
    return DataElement(
        id=answer.id,
        code=answer.code,
        name=answer.name,
        value_type=answer.value_type,
        aggregation_type=answer.aggregation_type,
        zero_is_significant=answer.zero_is_significant,
        has_option_set=answer.option_set is not None,
        option_combos=option_combos,
        in_other_data_sets=bool(data_sets - {data_set_id}),
    )


def _data_set(answer: _DataSet) -> DataSet:
    combos = _Combos()
    return DataSet(
        id=answer.id,
        code=answer.code,
        name=answer.name,
        period_type=answer.period_type,
        open_future_periods=answer.open_future_periods,
        open_periods_after_end=answer.open_periods_after_co_end_date,
        expiry_days=answer.expiry_days,
        input_periods=tuple(
            InputPeriod(period.period.id, period.opening_date, period.closing_date)
            for period in answer.data_input_periods
        ),
        workflow=answer.workflow.id if answer.workflow else None,
        may_write=answer.access.data.write,
        option_combos=combos.of(answer.category_combo),
        data_elements=tuple(
            _data_element(
                entry.data_element,
                combos.of(entry.category_combo or entry.data_element.category_combo),
                answer.id,
            )
            for entry in answer.data_set_elements
        ),
        org_units=tuple(map(_org_unit, answer.organisation_units)),
    )
