"""Everything that is asked with GET: who am I, what is set up, which values are stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote_plus

from sandbox.dhis2.answers import JSON, Answer, json_answer, message
from sandbox.dhis2.fields import BadFilterError, Filter, View, parse_fields, render
from sandbox.dhis2.importer import Server
from sandbox.dhis2.kinds import KINDS
from sandbox.dhis2.metadata import (
    DEFAULT_OPTION_COMBO_ID,
    Identified,
    Index,
    Metadata,
    MetadataAccess,
    OrgUnit,
    is_uid,
)
from sandbox.dhis2.periods import Period, parse_period
from sandbox.dhis2.sharing import Right, groups_of, has_right
from sandbox.dhis2.values import StoredValue, ValueKey
from sandbox.dhis2.versions import Version
from sandbox.dhis2.views import Views

type Query = Mapping[str, Sequence[str]]
"""The parameters of an address; each may stand there several times."""

_PAGE_SIZE = 50


def _first(query: Query, name: str, default: str = "") -> str:
    return next(iter(query.get(name, ())), default)


def me(server: Server, query: Query) -> Answer:
    """Answer ``GET /api/me``."""
    view = Views(server.metadata, server.user, server.version).me()
    return json_answer(render(view, parse_fields(_first(query, "fields", ":all"))))


def system_info(server: Server, query: Query, address: str) -> Answer:
    """Answer ``GET /api/system/info``; the revision comes only where it is asked for."""
    view: dict[str, Callable[[], Any]] = {
        "contextPath": lambda: address,
        "calendar": lambda: server.metadata.calendar,
        "dateFormat": lambda: "yyyy-mm-dd",
        "serverDate": lambda: server.now.isoformat(timespec="milliseconds"),
        "serverTimeZoneId": lambda: "UTC",
        "version": lambda: server.version.release,
        "systemName": lambda: "DHIS 2",
        "instanceBaseUrl": lambda: address,
    }
    built = server.last_analytics
    if built is not None:
        view |= {
            "lastAnalyticsTableSuccess": lambda: built.isoformat(timespec="milliseconds"),
            "intervalSinceLastAnalyticsTableSuccess": lambda: f"{(server.now - built).seconds} s",
            "lastAnalyticsTableRuntime": lambda: "00:00:00.100",
        }
    fields = _first(query, "fields")
    if not fields:
        return json_answer(render(view, parse_fields(":all")))
    return json_answer(render({**view, "revision": lambda: "stand-in"}, parse_fields(fields)))


def approvals(server: Server, query: Query) -> Answer:
    """Answer ``GET /api/dataApprovals/approvals``: what is approved of a workflow, by org unit and period."""
    metadata, combos = server.metadata, _first(query, "aoc", DEFAULT_OPTION_COMBO_ID).split(",")
    units = [unit for name in _first(query, "ou").split(",") if (unit := metadata.org_unit.by_id(name))]
    workflow, period = _first(query, "wf"), _first(query, "pe")

    def state(org_unit: OrgUnit, combo: str) -> str:
        is_approved = metadata.is_approved(workflow, org_unit, period) and combo == DEFAULT_OPTION_COMBO_ID
        return "APPROVED_HERE" if is_approved else "UNAPPROVED_READY"

    return json_answer(
        [
            {"wf": workflow, "pe": period, "ou": unit.id, "aoc": combo, "state": state(unit, combo)}
            for unit in units
            for combo in combos
        ]
    )


def system_setting(server: Server, key: str, *, locks_accounts: bool) -> Answer:
    """Answer ``GET /api/systemSettings/KEY`` or ``?key=KEY``; nothing is said of a setting that there is not."""
    settings = server.metadata.system_settings
    known = {
        "keyLockMultipleFailedLogins": locks_accounts,
        "keyDataImportRequireCategoryOptionCombo": settings.require_category_option_combo,
        "keyDataImportRequireAttributeOptionCombo": settings.require_attribute_option_combo,
        "keyIncludeZeroValuesInAnalytics": settings.include_zero_values_in_analytics,
    }
    return json_answer({key: known[key]} if key in known else {})


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of object: its name in messages, all there are, and one by its UID, each as a view."""

    name: str
    all: Callable[[Metadata, Views], Iterable[View]]
    one: Callable[[Metadata, Views, str], View | None]


def _imported(plural: str) -> _Kind:
    """Return a kind whose objects are only there as they were imported."""

    def one(metadata: Metadata, views: Views, identifier: str) -> View | None:
        there = identifier in metadata.documents.get(plural, {})
        return views.document(plural, identifier) if there else None

    return _Kind(
        KINDS[plural].simple_name,
        lambda metadata, views: (
            views.document(plural, identifier) for identifier in metadata.documents.get(plural, {})
        ),
        one,
    )


def _kind[T: Identified](
    name: str, index: Callable[[Metadata], Index[T]], view: Callable[[Views, T], View]
) -> _Kind:
    def one(metadata: Metadata, views: Views, identifier: str) -> View | None:
        thing = index(metadata).by_id(identifier)
        return None if thing is None else view(views, thing)

    return _Kind(name, lambda metadata, views: (view(views, thing) for thing in index(metadata).all), one)


_LISTS = {plural: _imported(plural) for plural in KINDS} | {
    "dataSets": _kind("DataSet", lambda metadata: metadata.data_set, Views.data_set),
    "dataElements": _kind("DataElement", lambda metadata: metadata.data_element, Views.data_element),
    "organisationUnits": _kind("OrganisationUnit", lambda metadata: metadata.org_unit, Views.org_unit),
    "categoryOptionCombos": _kind(
        "CategoryOptionCombo", lambda metadata: metadata.option_combo, Views.option_combo
    ),
    "categoryOptions": _kind(
        "CategoryOption", lambda metadata: metadata.category_option, Views.category_option
    ),
    "categoryCombos": _kind("CategoryCombo", lambda metadata: metadata.category_combo, Views.category_combo),
    "optionSets": _kind("OptionSet", lambda metadata: metadata.option_set, Views.option_set),
    "lockExceptions": _Kind(
        "LockException",
        lambda metadata, views: (views.lock_exception(exception) for exception in metadata.lock_exceptions),
        lambda *_: None,
    ),
}


def listing_names() -> frozenset[str]:
    """Return the names of the lists that can be asked for: ``dataSets`` and so on."""
    return frozenset(_LISTS)


def _forbidden(server: Server) -> Answer | None:
    if server.user.metadata_access is not MetadataAccess.FORBIDDEN:
        return None
    return message(403, "You don't have the proper permissions to read objects of this type.")


def listing(server: Server, name: str, query: Query, address: str) -> Answer:
    """Answer a list such as ``GET /api/dataElements``, filtered and in pages of 50 unless asked otherwise."""
    refused = _forbidden(server)
    if refused is not None:
        return refused
    try:
        filters = [Filter.parse(text) for text in query.get("filter", ())]
    except BadFilterError as error:
        return message(400, str(error), "E1003")
    only_own = name == "organisationUnits" and _first(query, "withinUserHierarchy") == "true"
    views = Views(server.metadata, server.user, server.version)
    readable = server.user.metadata_access is MetadataAccess.READABLE
    may_read = _reader(server, name)
    found = [
        view
        for view in (_candidates(server, name, views, filters) if readable else ())
        if (not only_own or server.user.reaches_path(view["path"]()))
        and all(condition.accepts(view) for condition in filters)
        and may_read(view["id"]())
    ]
    found.sort(key=lambda view: (view["name"](), view["id"]()))
    fields = _first(query, "fields", "id,displayName")
    if _first(query, "paging") == "false":
        return json_answer({name: [render(view, parse_fields(fields)) for view in found]})
    number, size = int(_first(query, "page", "1")), int(_first(query, "pageSize", str(_PAGE_SIZE)))
    shown = found[(number - 1) * size : number * size]
    pager = _pager(f"{address}/api/{name}", number, size, len(found), _first(query, "fields"))
    return json_answer({"pager": pager, name: [render(view, parse_fields(fields)) for view in shown]})


def _candidates(server: Server, name: str, views: Views, filters: Sequence[Filter]) -> Iterable[View]:
    """Return the objects of a list, or those alone whose UIDs are asked for: there may be thousands of others."""
    asked = next((each.identifiers for each in filters if each.identifiers is not None), None)
    if asked is None:
        return _LISTS[name].all(server.metadata, views)
    found = (_LISTS[name].one(server.metadata, views, identifier) for identifier in asked)
    return [view for view in found if view is not None]


def _reader(server: Server, name: str) -> Callable[[str], bool]:
    """Return whether the user may read an object, by its UID: sharing says so of those that were imported."""
    documents, groups = server.metadata.documents.get(name, {}), groups_of(server.metadata, server.user)
    return lambda identifier: has_right(documents.get(identifier, {}), server.user, groups, Right.READ)


def owner(server: Server, name: str, identifier: str) -> dict[str, Any] | None:
    """Return an object as ``fields=:owner`` shows it."""
    views = Views(server.metadata, server.user, server.version)
    view = _LISTS[name].one(server.metadata, views, identifier)
    return None if view is None else render(view, parse_fields(":owner"))


def _pager(address: str, page: int, size: int, total: int, fields: str) -> dict[str, Any]:
    pages = max(1, -(-total // size))

    def link(number: int) -> str:
        parameters = [f"page={number}"] * (number > 1) + [f"pageSize={size}"] * (size != _PAGE_SIZE)
        return f"{address}?{'&'.join([*parameters, *([f'fields={quote_plus(fields)}'] * bool(fields))])}"

    pager: dict[str, Any] = {"page": page, "total": total, "pageSize": size, "pageCount": pages}
    if page < pages:
        pager["nextPage"] = link(page + 1)
    if page > 1:
        pager["prevPage"] = link(page - 1)
    return pager


def one(server: Server, name: str, identifier: str, query: Query) -> Answer:
    """Answer for one object, such as ``GET /api/dataSets/{id}``; an id of wrong shape is 404, from 2.42 405."""
    if not is_uid(identifier) and server.version.is_at_least(Version.V2_42):
        return message(405, "Request method 'GET' is not supported")
    refused = _forbidden(server)
    if refused is not None:
        return refused
    if server.user.metadata_access is MetadataAccess.READABLE:
        views = Views(server.metadata, server.user, server.version)
        view = _LISTS[name].one(server.metadata, views, identifier)
        if view is not None and _reader(server, name)(identifier):
            return json_answer(render(view, parse_fields(_first(query, "fields", ":all"))))
    return message(404, f"{_LISTS[name].name} with id {identifier} could not be found.", "E1005")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which stored values are asked for. ``data_elements`` is ``None`` where no data set is named."""

    data_elements: frozenset[str]
    data_sets: list[str]
    periods: list[Period]
    start: date | None
    end: date | None
    org_units: list[str]
    children: bool
    deleted: bool

    def has(self, server: Server, key: ValueKey, row: StoredValue) -> bool:
        period, org_unit = parse_period(key.period), server.metadata.org_unit.by_id(key.org_unit)
        if period is None or org_unit is None or (row.deleted and not self.deleted):
            return False
        in_time = period in self.periods or (
            self.start is not None
            and self.end is not None
            and self.start <= period.first
            and period.last <= self.end
        )
        in_place = org_unit.is_within(self.org_units) if self.children else org_unit.id in self.org_units
        return in_time and in_place and key.data_element in self.data_elements


def data_value_sets(server: Server, query: Query) -> Answer:
    """Answer ``GET /api/dataValueSets``: the values of data sets in periods and org units.

    A user who does not reach an org unit gets an error from 2.43, and up to 2.42 an empty answer.
    """
    wanted, missing = _wanted(server, query)
    if missing is not None:
        return missing
    outside = [
        unit.id
        for org_unit_id in wanted.org_units
        if (unit := server.metadata.org_unit.by_id(org_unit_id)) is not None and not server.user.reaches(unit)
    ]
    if outside:
        if server.version.imports_by_group:
            return message(409, f"User is not allowed to view org unit(s): `[{', '.join(outside)}]`", "E2012")
        return Answer(200, content_type=JSON)
    rows = [(key, row) for key, row in list(server.store.rows.items()) if wanted.has(server, key, row)]
    scheme = _first(query, "idScheme", "UID").upper()
    return json_answer(_Export(server, wanted, scheme).document(rows))


def _wanted(server: Server, query: Query) -> tuple[_Wanted, Answer | None]:
    metadata, scheme = server.metadata, _first(query, "inputIdScheme", "UID").upper()
    data_sets = _known(metadata.data_set, scheme, query.get("dataSet", ()))
    start, end = _first(query, "startDate"), _first(query, "endDate")
    wanted = _Wanted(
        data_elements=frozenset(element for data_set in data_sets for element in data_set.data_element_ids),
        data_sets=[data_set.id for data_set in data_sets],
        periods=[period for text in query.get("period", ()) if (period := parse_period(text)) is not None],
        start=date.fromisoformat(start) if start else None,
        end=date.fromisoformat(end) if end else None,
        org_units=[unit.id for unit in _known(metadata.org_unit, scheme, query.get("orgUnit", ()))],
        children=_first(query, "children") == "true",
        deleted=_first(query, "includeDeleted") == "true",
    )
    no_org_unit = (
        not wanted.org_units,
        "At least one organisation unit or organisation unit group must be specified",
        "E2006",
    )
    no_data_set = (
        not wanted.data_sets,
        "At least one data element, data set or data element group must be specified",
        "E2001",
    )
    no_period = (
        not wanted.periods and wanted.start is None,
        "At least one period, start/end dates, last updated or last updated duration must be specified",
        "E2002",
    )
    checks = (
        (no_data_set, no_period, no_org_unit)
        if server.version.imports_by_group
        else (no_org_unit, no_data_set, no_period)
    )
    for absent, text, error_code in checks:
        if absent:
            return wanted, message(409, text, error_code)
    return wanted, None


def _known[T: Identified](index: Index[T], scheme: str, identifiers: Sequence[str]) -> list[T]:
    return [thing for text in identifiers if (thing := index.by_scheme(scheme, text)) is not None]


class _Export:
    """Stored values as the document that ``GET /api/dataValueSets`` sends."""

    def __init__(self, server: Server, wanted: _Wanted, scheme: str) -> None:
        self._metadata = server.metadata
        self._by_group = server.version.imports_by_group
        self._wanted = wanted
        self._scheme = scheme

    def document(self, rows: Sequence[tuple[ValueKey, StoredValue]]) -> dict[str, Any]:
        """Return the document; what is the same for all rows stands at the top, from 2.43 only there."""
        periods, org_units = self._wanted.periods, self._wanted.org_units
        top: dict[str, Any] = {}
        if len(self._wanted.data_sets) == 1:
            top["dataSet"] = self._name(self._metadata.data_set, self._wanted.data_sets[0])
        if not self._by_group:
            top["completeDate"] = None
        if len(periods) == 1:
            top["period"] = periods[0].iso
        one_org_unit = len(org_units) == 1 and not (self._by_group and self._wanted.children)
        if one_org_unit:
            top["orgUnit"] = self._name(self._metadata.org_unit, org_units[0])
        if self._by_group and self._scheme != "UID":
            top |= dict.fromkeys(_EXPORT_SCHEMES, self._scheme)
        in_rows = not self._by_group
        top["dataValues"] = [
            self._row(key, row, period=in_rows or len(periods) != 1, org_unit=in_rows or not one_org_unit)
            for key, row in rows
        ]
        return top

    def _row(self, key: ValueKey, row: StoredValue, *, period: bool, org_unit: bool) -> dict[str, Any]:
        metadata = self._metadata
        body: dict[str, Any] = {"dataElement": self._name(metadata.data_element, key.data_element)}
        if period:
            body["period"] = key.period
        if org_unit:
            body["orgUnit"] = self._name(metadata.org_unit, key.org_unit)
        body |= {
            "categoryOptionCombo": self._name(metadata.option_combo, key.category_option_combo),
            "attributeOptionCombo": self._name(metadata.option_combo, key.attribute_option_combo),
            "value": row.value,
            "storedBy": row.stored_by,
            "created": self._instant(row.created),
            "lastUpdated": self._instant(row.last_updated),
        }
        if row.comment is not None or not self._by_group:
            body["comment"] = row.comment
        if not self._by_group:
            body["followup"] = False
        if row.deleted:
            body["deleted"] = True
        return body

    def _instant(self, instant: datetime) -> str:
        exact = instant if self._by_group else instant.replace(microsecond=0)
        return f"{exact.isoformat(timespec='milliseconds')}+0000"

    def _name[T: Identified](self, index: Index[T], identifier: str) -> str | None:
        thing = index.by_id(identifier)
        return thing.code if self._scheme == "CODE" and thing is not None else identifier


_EXPORT_SCHEMES = (
    "dataSetIdScheme",
    "dataElementIdScheme",
    "orgUnitIdScheme",
    "categoryOptionComboIdScheme",
    "attributeOptionComboIdScheme",
    "categoryIdScheme",
    "categoryOptionIdScheme",
)
