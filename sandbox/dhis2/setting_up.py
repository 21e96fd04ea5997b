"""The calls by which DHIS2 is set up: metadata, maintenance, system settings and analytics tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any

from sandbox.dhis2.analytics import AnalyticsTables, analytics, build_tables
from sandbox.dhis2.answers import Answer, json_answer, message
from sandbox.dhis2.call import Call
from sandbox.dhis2.documents import with_documents, with_generated_combos
from sandbox.dhis2.import_report import stats
from sandbox.dhis2.importer import Server
from sandbox.dhis2.kinds import KINDS
from sandbox.dhis2.metadata import Metadata, uid
from sandbox.dhis2.metadata_import import (
    Imported,
    ImportOptions,
    delete_one,
    exists,
    import_metadata,
    import_one,
)
from sandbox.dhis2.payload import Push
from sandbox.dhis2.periods import PERIOD_TYPES, parse_period
from sandbox.dhis2.reading import owner
from sandbox.dhis2.versions import Version

MAINTENANCE = "F_PERFORM_MAINTENANCE"
SYSTEM_SETTING = "F_SYSTEM_SETTING"
_INCLUDE_ZEROS = "keyIncludeZeroValuesInAnalytics"
_NOTIFIER = "/api/system/tasks/ANALYTICS_TABLE/"


@dataclass(slots=True)
class _FreshDataSet:
    """A data set that was imported since the caches were last cleared (2.41 and 2.42)."""

    was_read: bool = False
    periods: frozenset[str] | None = None
    """Those of the first push; ``None`` before it."""


@dataclass(slots=True)
class SettingUp:
    """What these calls leave behind besides metadata."""

    tables: AnalyticsTables = field(default_factory=AnalyticsTables)
    _fresh: dict[str, _FreshDataSet] = field(default_factory=dict)
    _tasks: list[str] = field(default_factory=list)

    def answer(self, call: Call, parts: Sequence[str], server: Server) -> Imported | None:
        """Answer a call; ``None`` where it is none of these."""
        if call.method in ("GET", "HEAD"):
            said = self._told(call, parts, server)
            return None if said is None else Imported(said, server.metadata)
        return self._maintained(call, parts, server) or self._imported(call, parts, server)

    def _told(self, call: Call, parts: Sequence[str], server: Server) -> Answer | None:
        match parts:
            case ["analytics"]:
                return analytics(server, self.tables, call.query)
            case ["system", "tasks", "ANALYTICS_TABLE", task]:
                return self._task(task)
            case ["configuration", "dataOutputPeriodTypes"] if server.version.is_at_least(Version.V2_43):
                types = server.metadata.system_settings.output_period_types
                return json_answer([{"name": name, "displayName": name} for name in types])
        return None

    def _maintained(self, call: Call, parts: Sequence[str], server: Server) -> Imported | None:
        """Answer what needs an authority of its own."""
        authority = MAINTENANCE
        match call.method, *parts:
            case "POST", "maintenance":
                carry_out = partial(self._maintain, call, server)
            case "POST", "maintenance", "categoryOptionComboUpdate", *one:
                carry_out = partial(_make_combos, server, of_one=bool(one))
            case "POST", "resourceTables", "analytics":
                carry_out = partial(self._build, server)
            case "POST", "systemSettings", key:
                authority = SYSTEM_SETTING
                carry_out = partial(_set_system_setting, call, server, key)
            case "POST", "configuration", "dataOutputPeriodTypes" if server.version.is_at_least(
                Version.V2_43
            ):
                authority = SYSTEM_SETTING
                carry_out = partial(_set_output_period_types, call, server)
            case _:
                return None
        return carry_out() if server.user.may(authority) else _forbidden(server, authority)

    def _imported(self, call: Call, parts: Sequence[str], server: Server) -> Imported | None:
        match call.method, *parts:
            case "POST", "metadata":
                return self._noted(server, import_metadata(server, call.body, ImportOptions.of(call.query)))
            case "POST", "dataSets", identifier, "organisationUnits":
                return _change_org_units(server, identifier, _json(call))
            case "POST", "dataSets", identifier, "organisationUnits", unit:
                return _change_org_units(server, identifier, {"additions": [{"id": unit}]})
            case "POST", plural if plural in KINDS:
                return self._noted(
                    server, import_one(server, KINDS[plural], _json(call), is_new=True), plural
                )
            case method, plural, identifier if plural in KINDS:
                return self._changed(call, server, method, plural, identifier)
        return None

    def _changed(
        self, call: Call, server: Server, method: str, plural: str, identifier: str
    ) -> Imported | None:
        match method:
            case "PUT":
                return self._put(call, server, plural, identifier)
            case "PATCH":
                return _patch(call, server, plural, identifier)
            case "DELETE":
                return _deleted(server, plural, identifier)
        return None

    # Metadata

    def _noted(self, server: Server, done: Imported, plural: str | None = None) -> Imported:
        """Note which data sets are new; with an address of its own a category combo gets its option combos."""
        before = {data_set.id for data_set in server.metadata.data_sets}
        if server.version in (Version.V2_41, Version.V2_42):
            for data_set in done.metadata.data_sets:
                if data_set.id not in before:
                    self._fresh[data_set.id] = _FreshDataSet()
        if plural == "categoryCombos":
            return done._replace(metadata=with_generated_combos(done.metadata))
        return done

    def _put(self, call: Call, server: Server, plural: str, identifier: str) -> Imported:
        kind = KINDS[plural]
        if not exists(server.metadata, plural, identifier):
            return Imported(message(404, f"{kind.simple_name} does not exist: {identifier}"), server.metadata)
        done = import_one(server, kind, {**_json(call), "id": identifier}, is_new=False)
        if plural == "maps" and done.answer.status == HTTPStatus.OK:
            ok = {"httpStatus": "OK", "httpStatusCode": 200, "status": "OK"}
            done = done._replace(answer=json_answer(ok))
        return self._noted(server, done, plural)

    # Caches

    def note_reading(self, document: bytes) -> None:
        """Note that somebody has read data sets: those that are new then have no period type for a push."""
        for identifier, fresh in self._fresh.items():
            fresh.was_read = fresh.was_read or identifier.encode() in document

    def with_stale_cache(self, server: Server, push: Push) -> Server:
        """Return what a push meets: of a new data set up to 2.42 a server knows the periods of the first push only."""
        data_set = server.metadata.data_set.by_scheme(push.schemes.data_set, push.data_set)
        fresh = None if data_set is None else self._fresh.get(data_set.id)
        if fresh is None:
            return server
        if fresh.periods is not None:
            return replace(server, stale_cache="E7644", cached_periods=fresh.periods)
        if fresh.was_read:
            return replace(server, stale_cache="E7632")
        labels = {row.period for row in push.rows if row.period is not None}
        fresh.periods = frozenset(
            period.iso for label in labels if (period := parse_period(label)) is not None
        )
        return server

    # Maintenance

    def _maintain(self, call: Call, server: Server) -> Imported:
        metadata = server.metadata
        if "true" in call.query.get("cacheClear", ()):
            self._fresh.clear()
        if "true" in call.query.get("categoryOptionComboUpdate", ()):
            metadata = with_generated_combos(metadata)
        return Imported(_done(server.version), metadata)

    # Analytics tables: built at once, so that their task has ended when it is first looked at

    def _build(self, server: Server) -> Imported:
        self.tables = build_tables(server)
        task = uid("task", str(len(self._tasks)))
        self._tasks.append(task)
        name = f"ANALYTICS_TABLE ({int(server.now.timestamp() * 1000)})"
        job = {
            "name": name,
            "id": task,
            "created": server.now.isoformat(timespec="milliseconds"),
            "jobType": "ANALYTICS_TABLE",
            "jobStatus": "NOT_STARTED",
            "relativeNotifierEndpoint": f"{_NOTIFIER}{task}",
            "responseType": "JobConfiguration",
        }
        body = {
            "httpStatus": "OK",
            "httpStatusCode": 200,
            "status": "OK",
            "message": f"Initiated {name}",
            "response": job,
        }
        return Imported(json_answer(body), server.metadata)

    def _task(self, task: str) -> Answer:
        if task not in self._tasks or self.tables.built is None:
            return json_answer([])
        note = {
            "level": "INFO",
            "category": "ANALYTICS_TABLE",
            "time": self.tables.built.isoformat(timespec="milliseconds"),
        }
        ended = {
            **note,
            "uid": uid("note", f"{task} 1"),
            "message": "Analytics tables updated: 00:00:00.100",
            "completed": True,
        }
        begun = {
            **note,
            "uid": uid("note", f"{task} 0"),
            "message": "Analytics table update process",
            "completed": False,
        }
        return json_answer([{**each, "id": each["uid"]} for each in (ended, begun)])


def _json(call: Call) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(call.body or b"{}")
    return document


def _done(version: Version) -> Answer:
    if version.is_at_least(Version.V2_43):
        return json_answer({"httpStatus": "OK", "httpStatusCode": 200, "status": "OK"})
    return Answer(204)


def _with_settings(server: Server, **changes: object) -> Metadata:
    settings = server.metadata.system_settings.model_copy(update=changes)
    return server.metadata.model_copy(update={"system_settings": settings})


def _set_system_setting(call: Call, server: Server, key: str) -> Imported:
    value = call.body.decode().strip().strip('"')
    metadata = server.metadata
    if key == _INCLUDE_ZEROS:
        metadata = _with_settings(server, include_zero_values_in_analytics=value == "true")
    body = {
        "httpStatus": "OK",
        "httpStatusCode": 200,
        "status": "OK",
        "message": f"System setting '{key}' set to value '{value}'.",
    }
    return Imported(json_answer(body), metadata)


def _set_output_period_types(call: Call, server: Server) -> Imported:
    asked = [each["name"] for each in json.loads(call.body)]
    types = tuple(name for name in PERIOD_TYPES if name in asked)
    return Imported(Answer(204), _with_settings(server, output_period_types=types))


def _make_combos(server: Server, *, of_one: bool) -> Imported:
    answer = _done(server.version)
    if of_one:
        counts = dict.fromkeys(("imported", "updated", "deleted", "ignored", "total"), 0)
        summaries = {
            "status": "SUCCESS",
            **counts,
            "importSummaries": [],
            "responseType": "ImportSummaries",
        }
        answer = json_answer(
            {
                "httpStatus": "OK",
                "httpStatusCode": 200,
                "status": "OK",
                "message": "Import was successful.",
                "response": summaries,
            }
        )
    return Imported(answer, with_generated_combos(server.metadata))


def _change_org_units(server: Server, identifier: str, asked: Mapping[str, Any]) -> Imported:
    """Add org units to a data set, and take others away; what is there already is left out."""
    document = owner(server, "dataSets", identifier)
    if document is None:
        return _not_there(server, "dataSets", identifier)
    before = [unit["id"] for unit in document.get("organisationUnits", ())]
    gone = [unit["id"] for unit in asked.get("deletions", ()) if unit["id"] in before]
    new = [unit["id"] for unit in asked.get("additions", ()) if unit["id"] not in before]
    units = [{"id": unit} for unit in (*before, *new) if unit not in gone]
    changed = {"dataSets": {identifier: {**document, "organisationUnits": units}}}
    ignored = len(asked.get("additions", ())) + len(asked.get("deletions", ())) - len(new) - len(gone)
    report = {
        "status": "OK",
        "stats": stats(updated=len(new), deleted=len(gone), ignored=ignored),
        "objectReports": [],
        "responseType": "TypeReport",
    }
    answer = json_answer({"httpStatus": "OK", "httpStatusCode": 200, "status": "OK", "response": report})
    return Imported(answer, with_documents(server.metadata, changed, server.users.values()))


def _forbidden(server: Server, authority: str) -> Imported:
    wanted = f", requires one Authority from [{authority}]"
    text = f"Access is denied{wanted if server.version.is_at_least(Version.V2_42) else ''}"
    return Imported(message(403, text), server.metadata)


def _patch(call: Call, server: Server, plural: str, identifier: str) -> Imported:
    """Change an object by JSON Patch: ``replace`` a field, or ``add`` to the end of a list."""
    document = owner(server, plural, identifier)
    if document is None:
        return _not_there(server, plural, identifier)
    for change in json.loads(call.body):
        name = change["path"].split("/")[1]
        value = change["value"]
        document[name] = [*document.get(name, ()), value] if change["path"].endswith("/-") else value
    return import_one(server, KINDS[plural], document, is_new=False)


def _deleted(server: Server, plural: str, identifier: str) -> Imported:
    if not exists(server.metadata, plural, identifier):
        return _not_there(server, plural, identifier)
    return delete_one(server, KINDS[plural], identifier)


def _not_there(server: Server, plural: str, identifier: str) -> Imported:
    text = f"{KINDS[plural].simple_name} with id {identifier} could not be found."
    return Imported(message(404, text, "E1005"), server.metadata)
