"""What DHIS2 has set up for a data set, and which values it holds: the questions, and what is kept of the answers.

Objects are asked for by ``filter``, never by address: an identifier of a wrong shape in an address is 404 or 405, in a
filter it is nothing found. Each question raises ``Dhis2Error`` where it cannot be answered, or the answer is not what
DHIS2 answers.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import batched, product
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import BeforeValidator

from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.models import (
    Answered,
    CategoryCombo,
    DataElement,
    DataSet,
    Identified,
    OptionCombo,
    OrgUnit,
    Query,
    ReadsDhis2,
    Reference,
    Server,
    User,
    by_identifier,
    parse,
    parse_list,
)
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.data_value import DataValue, DataValueKey
from msupply_dhis2.domain.lookalikes import LookAlikes, difference
from msupply_dhis2.errors import Dhis2PermanentError
from msupply_dhis2.periods import PeriodFormat, find_period

MAXIMUM_QUERY = 6_500
"""Characters of a query: with the server's own part of the address it stays below 7,000 (8,192 are too many)."""

_IDENTIFIERS_A_CALL = 100
_BREAKS_A_LIST = re.compile(r"[,\[\]]")
_APPROVED = ("APPROVED", "ACCEPTED")

_DATA_SETS_PATH = "/api/dataSets"
_VALUES_PATH = "/api/dataValueSets"
_ORG_UNITS_A_CALL = 100
_PERIODS_A_CALL = 50
"""With 20 characters each in the address an org unit and a period, far below the 7,000 that always pass."""

_ORG_UNIT_FIELDS = "id,code,name,path,openingDate,closedDate"
_OPTION_COMBO_FIELDS = (
    "id,code,name,categoryCombo[id],"
    "categoryOptions[id,code,name,startDate,endDate,organisationUnits[id],access[data[write]]]"
)
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


def read_server(client: ReadsDhis2) -> Server:
    """Read what the server is, and its date."""
    return parse(Server, client.get("/api/system/info"), "/api/system/info")


def read_user(client: ReadsDhis2) -> User:
    """Read who is logged in."""
    fields = "id,username,userCredentials[username],authorities,organisationUnits[id,code,path]"
    return parse(User, client.get("/api/me", {"fields": fields}), "/api/me")


def read_data_set(client: ReadsDhis2, identifier: str, scheme: Scheme) -> DataSet | None:
    """Read a data set with all that belongs to it; ``None`` where there is none, or the user may not see it."""
    query = _query(f"eq:{identifier}", scheme, _DATA_SET_FIELDS)
    found = parse_list(DataSet, client.get(_DATA_SETS_PATH, query), _DATA_SETS_PATH)
    return next((data_set for data_set in found if data_set.is_called(identifier, scheme)), None)


def list_data_sets(client: ReadsDhis2) -> tuple[DataSet, ...]:
    """Read the data sets that the user may see, without what belongs to them."""
    query = {"fields": "id,code,name,periodType", "paging": "false"}
    return parse_list(DataSet, client.get(_DATA_SETS_PATH, query), _DATA_SETS_PATH)


def find[Model: Answered](
    model: type[Model], client: ReadsDhis2, identifiers: Collection[str], scheme: Scheme
) -> tuple[Model, ...]:
    """Find org units, data elements or option combos, in or out of data sets; those that there are not are missing."""
    path, fields = _LISTS[model]
    queries = _queries(identifiers, scheme, fields)
    return tuple(thing for query in queries for thing in parse_list(model, client.get(path, query), path))


def find_category_option(client: ReadsDhis2, identifier: str, scheme: Scheme) -> tuple[OptionCombo, ...]:
    """Find the option combos of a category option, whose identifier is easily taken for theirs; none if there is none."""
    found = find(_CombosOfOption, client, [identifier], scheme)
    return tuple(combo for option in found for combo in option.category_option_combos)


def find_approved(
    client: ReadsDhis2, workflow: str, period: str, org_units: Collection[str], combos: Collection[str]
) -> frozenset[str]:
    """Find the org units whose data of a period are approved, by UIDs throughout.

    ``combos`` are the attribute option combos; one that is approved is enough. None: the default one.
    """
    path = "/api/dataApprovals/approvals"
    of_combos = {"aoc": ",".join(sorted(combos))} if combos else {}
    approved: set[str] = set()
    for some in batched(org_units, _IDENTIFIERS_A_CALL, strict=False):
        query = {"wf": workflow, "pe": period, "ou": ",".join(some), **of_combos}
        found = parse_list(_Approval, {"approvals": client.get(path, query)}, path)
        approved |= {each.ou for each in found if each.state.startswith(_APPROVED)}
    return frozenset(approved)


def read_system_setting(client: ReadsDhis2, key: str) -> bool:
    """Read a system setting that is on or off; off where the server knows none of that name."""
    answer = client.get(f"/api/systemSettings/{key}")
    return isinstance(answer, dict) and str(answer.get(key)).lower() == "true"


def find_lock_exceptions(client: ReadsDhis2, data_set_id: str) -> frozenset[tuple[str, str]]:
    """Find for what the data set's expiry days do not count: UID of the org unit, ``""`` for all of them, and period."""
    path = "/api/lockExceptions"
    # All fields: from 2.43 a period that is asked for its id answers nothing.
    query = {"filter": f"dataSet.id:eq:{data_set_id}", "fields": "*", "paging": "false"}
    return frozenset(
        (exception.organisation_unit or "", exception.period)
        for exception in parse_list(_LockException, client.get(path, query), path)
        if exception.data_set in {None, data_set_id}
    )


class StoredValue(NamedTuple):
    """A value in DHIS2, all in UIDs; ``stored_by`` and ``last_updated`` as DHIS2 writes them, where it does."""

    key: DataValueKey
    value: str
    stored_by: object
    last_updated: object


def read_stored(
    client: ReadsDhis2, data_set_id: str, keys: Collection[DataValueKey]
) -> dict[DataValueKey, str]:
    """Return what DHIS2 holds for keys of a data set, all in UIDs; a key without a value is absent."""
    periods_of: defaultdict[str, set[str]] = defaultdict(set)
    for key in keys:
        periods_of[key.org_unit].add(key.period)
    # Org units with the same periods are asked for together.
    org_units_with: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for org_unit, periods in sorted(periods_of.items()):
        org_units_with[frozenset(periods)].append(org_unit)
    wanted = frozenset(keys)
    return {
        stored.key: stored.value
        for same_periods, org_units in org_units_with.items()
        for stored in read_values(client, data_set_id, org_units, sorted(same_periods))
        if stored.key in wanted
    }


def read_values(
    client: ReadsDhis2, data_set_id: str, org_units: Sequence[str], periods: Sequence[str]
) -> Iterator[StoredValue]:
    """Yield all that DHIS2 holds of a data set in these org units and periods, in as many calls as addresses take."""
    parts = product(
        batched(periods, _PERIODS_A_CALL, strict=False), batched(org_units, _ORG_UNITS_A_CALL, strict=False)
    )
    for some_periods, some_org_units in parts:
        query = {"dataSet": data_set_id, "period": some_periods, "orgUnit": some_org_units}
        answer = parse(_DataValueSet, client.get(_VALUES_PATH, query), _VALUES_PATH)
        for row in answer.data_values:
            period, org_unit = row.period or answer.period, row.org_unit or answer.org_unit
            if row.deleted or row.value is None or period is None or org_unit is None:
                continue
            found = find_period(period)
            label = found.label if found else period
            combos = row.category_option_combo, row.attribute_option_combo
            key = DataValueKey(row.data_element, label, org_unit, *combos)
            yield StoredValue(key, row.value, row.stored_by, row.last_updated)


class _Row(Answered):
    data_element: str
    period: str | None = None
    org_unit: str | None = None
    category_option_combo: str
    attribute_option_combo: str
    value: str | None = None
    stored_by: object = None
    last_updated: object = None
    deleted: bool = False


class _DataValueSet(Answered):
    """From 2.43 what is the same for all rows stands at the top only; where nothing is stored there are no rows."""

    period: str | None = None
    org_unit: str | None = None
    data_values: tuple[_Row, ...] = ()


def _query(condition: str, scheme: Scheme, fields: str) -> dict[str, str]:
    name = "id" if scheme is Scheme.UID else "code"
    return {"filter": f"{name}:{condition}", "fields": fields, "paging": "false"}


def _queries(identifiers: Collection[str], scheme: Scheme, fields: str) -> Iterator[dict[str, str]]:
    """Yield the queries that together ask for all identifiers, each short enough for an address."""
    listed: list[str] = []
    for identifier in dict.fromkeys(identifiers):
        # A list cannot say a comma or a bracket.
        if _BREAKS_A_LIST.search(identifier):
            yield _query(f"eq:{identifier}", scheme, fields)
            continue
        longer = _query(f"in:[{','.join([*listed, identifier])}]", scheme, fields)
        if listed and (len(listed) == _IDENTIFIERS_A_CALL or len(urlencode(longer)) > MAXIMUM_QUERY):
            yield _query(f"in:[{','.join(listed)}]", scheme, fields)
            listed = []
        listed.append(identifier)
    if listed:
        yield _query(f"in:[{','.join(listed)}]", scheme, fields)


class _CombosOfOption(Identified):
    category_option_combos: tuple[OptionCombo, ...] = ()


_LISTS: dict[type[Answered], tuple[str, str]] = {
    OrgUnit: ("/api/organisationUnits", _ORG_UNIT_FIELDS),
    DataElement: ("/api/dataElements", _DATA_ELEMENT_FIELDS),
    OptionCombo: ("/api/categoryOptionCombos", _OPTION_COMBO_FIELDS),
    _CombosOfOption: ("/api/categoryOptions", f"id,code,name,categoryOptionCombos[{_OPTION_COMBO_FIELDS}]"),
}
"""Where each kind is listed, and what of it is asked for."""


class _Approval(Answered):
    ou: str
    state: str


def _label(period: object) -> object:
    """Return the label of a period: up to 2.42 its id; from 2.43 only its type and days are told."""
    if not isinstance(period, dict):
        return period
    label, kind, start = (period.get(name) for name in ("id", "periodType", "startDate"))
    if label is None and kind is not None and start is not None:
        label = PeriodFormat.parse(str(kind)).label(date.fromisoformat(str(start)[:10]))
    if not label:
        raise ValueError("it has neither an id nor a period type with a start date")
    return label


class _LockException(Answered):
    data_set: Reference | None = None
    organisation_unit: Reference | None = None
    period: Annotated[str, BeforeValidator(_label)]


class KeptAnswers:
    """Asks DHIS2, and keeps the answers: a reading that a proxy's limit of the rate broke off goes on where it was."""

    def __init__(self, client: ReadsDhis2) -> None:
        self._client = client
        self._answers: dict[tuple[str, str], object] = {}

    def get(self, path: str, params: Query | None = None) -> object:
        """Return the answer that is kept, or DHIS2's."""
        question = path, repr(params)
        if question not in self._answers:
            self._answers[question] = self._client.get(path, params)
        return self._answers[question]

    def forget(self) -> None:
        """Forget all answers, because what they were asked for is known."""
        self._answers.clear()


@dataclass(slots=True)
class MetadataCache:
    """What is known of the server, the user and the data set; in ``combos_in_use`` by category combo.

    The *other* things were looked up because the data set does not have them: ``None`` where there is no such thing; what
    could not be looked up is not there. So were ``unknown_combos``: ``None`` where there is one elsewhere, else those of the
    category option of that identifier. ``lock_exceptions`` are org unit and period of the exceptions from the expiry days,
    ``None`` while, or where, not known.
    """

    server: Server
    user: User
    data_set: DataSet
    schemes: Schemes
    read_at: float
    data_elements: Mapping[str, DataElement] = field(init=False)
    org_units: Mapping[str, OrgUnit] = field(init=False)
    combos_in_use: Mapping[str, CategoryCombo] = field(init=False)
    other_data_elements: dict[str, DataElement | None] = field(default_factory=dict)
    other_org_units: dict[str, OrgUnit | None] = field(default_factory=dict)
    unknown_combos: dict[tuple[Scheme, str], Sequence[OptionCombo] | None] = field(default_factory=dict)
    lock_exceptions: frozenset[tuple[str, str]] | None = None
    _locks_asked_for: bool = False
    _look_alikes: dict[str, LookAlikes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        elements = self.data_set.data_elements
        self.data_elements = by_identifier(elements, self.schemes.data_element)
        self.org_units = by_identifier(self.data_set.org_units, self.schemes.org_unit)
        each = [self.data_set.category_combo, *[element.category_combo for element in elements]]
        self.combos_in_use = {among.id: among for among in each if among}

    def hint(
        self, identifier: str, kind: Literal["data element", "org unit", "option combo"], scheme: Scheme
    ) -> str:
        """Name what in the data set looks like an identifier, to follow words about it; nothing where nothing does."""
        key = f"{kind} {scheme}"
        if key not in self._look_alikes:
            among: Iterable[str] = self.data_elements if kind == "data element" else self.org_units
            if kind == "option combo":
                among = (each for combo in self.combos_in_use.values() for each in combo.by_scheme[scheme])
            self._look_alikes[key] = LookAlikes(among)
        alike = self._look_alikes[key].to(identifier)
        if alike is None:
            return ""
        here = "the settings" if kind == "option combo" else "mSupply"
        return f". Did you mean `{alike}`? {difference(identifier, alike, here=here)}"

    def look_up(self, client: ReadsDhis2, values: Collection[DataValue]) -> None:
        """Look up the data elements and org units that the data set does not have, once and as far as they may be read."""
        identifiers, scheme = {value.data_element for value in values}, self.schemes.data_element
        _look_up(DataElement, client, identifiers, scheme, self.data_elements, self.other_data_elements)
        identifiers, scheme = {value.org_unit for value in values}, self.schemes.org_unit
        _look_up(OrgUnit, client, identifiers, scheme, self.org_units, self.other_org_units)

    def look_up_combos(self, client: ReadsDhis2, values: Collection[DataValue]) -> None:
        """Look up the option combos that neither the data set nor its data elements have."""
        named = {
            (value.column.option_combo_scheme, combo)
            for value in values
            for combo in value.identifier[1:]
            if combo is not None
        }
        for scheme, identifier in named - self.unknown_combos.keys():
            if any(identifier in combo.by_scheme[scheme] for combo in self.combos_in_use.values()):
                continue
            with suppress(Dhis2PermanentError):
                meant: Sequence[OptionCombo] | None = None
                combos = find(OptionCombo, client, [identifier], scheme)
                if not any(combo.is_called(identifier, scheme) for combo in combos):
                    meant = ()
                    with suppress(Dhis2PermanentError):
                        meant = find_category_option(client, identifier, scheme)
                self.unknown_combos[scheme, identifier] = meant

    def look_up_locks(self, client: ReadsDhis2) -> None:
        """Read the exceptions from the expiry days, as far as they may be read."""
        if not self._locks_asked_for:
            with suppress(Dhis2PermanentError):
                self.lock_exceptions = find_lock_exceptions(client, self.data_set.id)
            self._locks_asked_for = True


def _look_up[Thing: Identified](
    model: type[Thing],
    client: ReadsDhis2,
    identifiers: Collection[str],
    scheme: Scheme,
    known: Mapping[str, Thing],
    others: dict[str, Thing | None],
) -> None:
    """Add to the others what is not known yet."""
    unknown = sorted(set(identifiers) - known.keys() - others.keys())
    with suppress(Dhis2PermanentError):
        found = by_identifier(find(model, client, unknown, scheme), scheme)
        others |= {identifier: found.get(identifier) for identifier in unknown}
