"""The import of a plan into DHIS2, in the order that every version takes: again and again until it is all there."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from logging import INFO, WARNING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import requests

from cli.announcement import Tell
from cli.local import Systems
from cli.metadata.comparing import State
from cli.metadata.existing import OUTPUT_PERIOD_TYPES, ZEROS_IN_ANALYTICS, AsksDhis2
from cli.metadata.objects import Brief
from cli.metadata.plan import Plan, make_plan
from cli.metadata.refusals import (
    Imported,
    read_object_report,
    read_report,
    told_as_import,
)
from cli.metadata.wanted import ACCESS, CHARTS, MAPS, METADATA, Body
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedItem, MappedNames, MappedStore
from msupply_dhis2.errors import ConfigurationError, Dhis2PermanentError
from msupply_dhis2.periods import Calendar
from msupply_dhis2.preflight import job as preflight
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.text import count

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain"}

_PART_BYTES = 900_000
"""nginx takes a million by default."""


class ServerSetting(StrEnum):
    """A setting of the whole server that charts hang on; changed only where it is asked for by its name."""

    ZEROS = "zeros"
    PERIODS = "periods"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for beyond a plan's objects: that the access file is applied, that what is otherwise is changed.

    ``as_of`` is the instant for which the connection is tested: now unless given.
    """

    access: bool = False
    update: bool = False
    server_settings: frozenset[ServerSetting] = frozenset()
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What an import did: how many objects were made and changed, and the plan as DHIS2 has it now."""

    created: int
    changed: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class Done:
    """What an import did, and what the connection test says then."""

    created: int
    changed: int
    plan: Plan
    report: preflight.ConnectionReport

    @property
    def said(self) -> str:
        """How much was made and changed."""
        return f"{self.created:,} made, {self.changed:,} changed. DHIS2 has all {len(self.plan.objects):,} objects."


def set_up(brief: Brief, login: Systems, asked: Asked, confirm: Callable[[Plan], None], tell: Tell) -> Done:
    """Import a plan, and test the connection: from DHIS2's first look at it to what a push would find.

    ``login`` is that of whoever may change metadata; of these systems nothing else is used. ``confirm`` is handed the plan
    after that look, and raises where nothing is to be changed.
    """
    credentials = login.credentials(brief.settings)
    with told_as_import(), Dhis2Client.of(brief.settings, credentials) as client:
        plan = plan_again(brief, client, access=asked.access, update=asked.update)
        validate(plan, client, tell)
        confirm(plan)
        applied = apply(plan, client, tell, asked.server_settings)
    report = test_connection(brief, credentials, asked.as_of)
    return Done(applied.created, applied.changed, applied.plan, report)


def name_of(settings: Settings) -> str:
    """Return the name of the server, which no two have: that of its address."""
    parts = urlsplit(str(settings.url))
    return f"{parts.netloc}{parts.path}".rstrip("/")


def insist_on_name(name: str, typed: str) -> None:
    """Raise where somebody has typed another name than the server's, so that nobody changes the wrong one."""
    if typed.strip() != name:
        raise ConfigurationError(f"'{typed.strip()}' is not {name}. Nothing was changed.")


def plan_again(brief: Brief, client: AsksDhis2, *, access: bool, update: bool) -> Plan:
    """Compare a plan with DHIS2 as it is now.

    Raises
    ------
    ConfigurationError
        The plan makes a role and groups, and that was not asked for, or the reverse.
    """
    if brief.access and not access:
        raise ConfigurationError(
            "This plan makes a role and groups, and shares everything with these groups only. Add --access, or plan without it."
        )
    if access and not brief.access:
        raise ConfigurationError(
            "This plan has no role and no groups. Plan again with --access, or leave it out."
        )
    return make_plan(brief, client, update=update)


def validate(plan: Plan, client: AsksDhis2, tell: Tell) -> None:
    """Let DHIS2 look at the objects without making them; raise with what it refuses.

    It looks at what the charts show only with the charts, which need the others first.
    """
    bodies = plan.of((*ACCESS, *METADATA))
    if not bodies:
        return
    response = _post(client, bodies, "VALIDATE")
    if response.status_code == requests.codes.request_entity_too_large:
        tell(
            "A proxy before DHIS2 takes no body of this size, so DHIS2 cannot look at the whole first. It is imported in parts.",
            WARNING,
        )
        return
    read_report(client, response, f"{_objects(bodies)} (looked at only)")


def apply(
    plan: Plan, client: AsksDhis2, tell: Tell, server_settings: frozenset[ServerSetting] = frozenset()
) -> Applied:
    """Import what is new or added to, and read it back.

    What broke off is resumed by the same call: each object is compared anew, and what is there is not sent again.
    """
    done = Imported()
    if bodies := plan.of((*ACCESS, *METADATA)):
        done = _import(client, bodies)
        tell(
            f"Data elements, data set and indicators: {done.created:,} made, {done.updated:,} changed.", INFO
        )
    # Without it 2.41 and 2.42 refuse values for a while. Also where nothing was sent: the last import may have broken off here.
    _clear_cache(client, tell)
    made, changed = done.created, done.updated
    for each in plan.objects:
        if each.wanted.kind in MAPS and each.sent is not None:
            is_new = each.state is State.NEW
            _put_map(client, each.sent, is_new=is_new)
            made, changed = made + is_new, changed + (not is_new)
    if bodies := plan.of(CHARTS):
        done = _import(client, bodies)
        tell(f"Charts and dashboard: {done.created:,} made, {done.updated:,} changed.", INFO)
        made, changed = made + done.created, changed + done.updated
    for setting in sorted(server_settings):
        _change_server(setting, plan, client, tell)
    return Applied(made, changed, _read_back(plan, client))


def _read_back(plan: Plan, client: AsksDhis2) -> Plan:
    """Compare once more; raise where anything is missing."""
    now = make_plan(plan.brief, client)
    missing = [each for each in now.objects if each.state in {State.NEW, State.ADDED_TO}]
    if missing:
        names = ", ".join(f"{each.wanted.kind} {each.wanted.key}" for each in missing[:5])
        raise Dhis2PermanentError(
            f"DHIS2 took the import, and {count(len(missing), 'object')} of it cannot be read: {names}. Your user may make them and not "
            "see them. Log in as somebody who sees them, and run the same command again."
        )
    return now


def _import(client: AsksDhis2, bodies: Mapping[str, list[Body]]) -> Imported:
    """Import all at once, or in parts where a proxy takes no body of that size: what others refer to goes first."""
    response = _post(client, bodies)
    if response.status_code != requests.codes.request_entity_too_large:
        return read_report(client, response, _objects(bodies))
    created = updated = 0
    for part in _parts(bodies):
        done = read_report(client, _post(client, part), _objects(part))
        created, updated = created + done.created, updated + done.updated
    return Imported(created, updated)


def _post(client: AsksDhis2, bodies: Mapping[str, list[Body]], mode: str = "COMMIT") -> requests.Response:
    query = {
        "importMode": mode,
        "importStrategy": "CREATE_AND_UPDATE",
        "identifier": "UID",
        "atomicMode": "ALL",
        "importReportMode": "ERRORS",
    }
    return client.call("POST", "/api/metadata", params=query, content=_written(bodies), headers=_JSON)


def _parts(bodies: Mapping[str, list[Body]]) -> Iterator[dict[str, list[Body]]]:
    """Yield bodies that are small enough for most proxies, in the order of the kinds."""
    part: dict[str, list[Body]] = {}
    size = 0
    for kind, objects in bodies.items():
        for each in objects:
            length = len(_written(each))
            if part and size + length > _PART_BYTES:
                yield part
                part, size = {}, 0
            part.setdefault(kind, []).append(each)
            size += length
    yield part


def _written(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def _objects(bodies: Mapping[str, list[Body]]) -> str:
    return count(sum(map(len, bodies.values())), "object")


def _clear_cache(client: AsksDhis2, tell: Tell) -> None:
    response = client.call("POST", "/api/maintenance", params={"cacheClear": "true"})
    if not response.ok:
        tell(
            f"DHIS2's cache could not be cleared (status {response.status_code}): your user lacks the authority F_PERFORM_MAINTENANCE. Let "
            "an administrator do it (Data administration → Maintenance), or wait some minutes: until then 2.41 and 2.42 may refuse values.",
            WARNING,
        )


def _put_map(client: AsksDhis2, body: Body, *, is_new: bool) -> None:
    method, path = ("POST", "/api/maps") if is_new else ("PUT", f"/api/maps/{body['id']}")
    response = client.call(method, path, content=_written(body), headers=_JSON)
    read_object_report(client, response, f"the map {body['name']}")


def _change_server(setting: ServerSetting, plan: Plan, client: AsksDhis2, tell: Tell) -> None:
    if setting is ServerSetting.ZEROS:
        path, content, headers = f"/api/systemSettings/{ZEROS_IN_ANALYTICS}", b"true", _TEXT
        said = "Zeros are in analytics from the next time that DHIS2 builds its tables."
    elif missing := plan.missing_period_types():
        held = plan.facts.output_period_types if plan.facts else ()
        names = [{"name": name} for name in (*(held or ()), *missing)]
        path, content, headers = OUTPUT_PERIOD_TYPES, _written(names), _JSON
        said = f"Output period types that were added: {', '.join(missing)}."
    else:
        tell("This DHIS2 puts out all period types that the charts need.", INFO)
        return
    response = client.call("POST", path, content=content, headers=headers)
    if not response.ok:
        raise client.refusal(response)
    tell(said, INFO)


def test_connection(
    brief: Brief, credentials: Dhis2Credentials, as_of: datetime | None
) -> preflight.ConnectionReport:
    """Look, as the connection test does, whether DHIS2 takes what a push would send now."""
    rows = brief.settings.active_rows
    mapped = MappedNames(
        stores=tuple(MappedStore(store.name, store.code, store.org_unit) for store in brief.subjects.stores),
        items=tuple(
            MappedItem(
                item.name,
                item.code,
                tuple(
                    None if of_row is None else f"{row.prefix}{of_row}"
                    for row, of_row in zip(rows, item.references, strict=True)
                ),
            )
            for item in brief.subjects.items
        ),
        skipped=brief.subjects.skipped,
        skipped_stores=sum(not each.startswith("item ") for each in brief.subjects.skipped),
    )
    answer = DatabaseAnswer(message="The plan names the stores and items of mSupply.", mapped=mapped)
    return preflight.test_connection(
        settings_reader=lambda: brief.settings,
        credentials_reader=lambda _: credentials,
        client_factory=Dhis2Client.of,
        database_check=lambda: answer,
        table=None,
        calendar=Calendar(ZoneInfo("UTC")),
        clock=lambda: datetime.now(UTC),
        as_of=as_of,
        time_limit=None,
    )
