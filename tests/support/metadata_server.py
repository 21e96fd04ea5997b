"""The metadata of a DHIS2 in memory, which takes and refuses imports as the recorded servers do, and can fail at any call."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from cli.metadata.wanted import KINDS, MAPS, WITHOUT_SHORT_NAME, Body
from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.errors import Dhis2DownError, Dhis2PermanentError

DEFAULT_COMBO = "bjDvmb4bfuf"
_ID = re.compile(r"\b[A-Za-z][A-Za-z0-9]{10}\b")
_KLASS = {
    "dataElements": "org.hisp.dhis.dataelement.DataElement",
    "dataSets": "org.hisp.dhis.dataset.DataSet",
}
_LIMITS = {"name": 230, "shortName": 50, "code": 50}


def response(status: int, body: object) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = json.dumps(body).encode()  # noqa: SLF001 - as requests makes them
    return made


@dataclass
class MetadataServer:
    """Attributes: ``calls`` made, as method and path; ``fails_at``: the number of the writing call that is not answered.

    ``is_done``: whether that call was done before the connection broke off. ``limit``: bytes of a body that a proxy takes.
    """

    objects: dict[str, dict[str, Body]] = field(default_factory=dict)
    version: str = "2.42.5.2"
    zeros: bool = False
    period_types: list[str] = field(default_factory=list)
    last_analytics: str | None = None
    fails_at: int | None = None
    is_done: bool = False
    limit: int = 10**9
    calls: list[tuple[str, str, Query | None]] = field(default_factory=list)
    written: int = 0

    def __post_init__(self) -> None:
        self.put("categoryCombos", {"id": DEFAULT_COMBO, "code": "default", "name": "default"})

    def put(self, kind: str, body: Body) -> Body:
        self.objects.setdefault(kind, {})[body["id"]] = body
        return body

    def of(self, kind: str) -> dict[str, Body]:
        return self.objects.get(kind, {})

    def named(self, kind: str, code: str) -> Body:
        return next(body for body in self.of(kind).values() if body.get("code") == code)

    def state(self) -> str:
        return json.dumps(self.objects, sort_keys=True)

    def get(self, path: str, params: Query | None = None) -> object:
        self.calls.append(("GET", path, params))
        match path.split("/")[2:]:
            case ["system", "info"]:
                info = {
                    "version": self.version,
                    "systemName": "Test",
                    "serverDate": "2026-11-29T00:00:00.000",
                }
                return {**info, "lastAnalyticsTableSuccess": self.last_analytics}
            case ["systemSettings", name]:
                return {name: self.zeros}
            case ["configuration", "dataOutputPeriodTypes"]:
                return [{"name": name} for name in self.period_types]
            case [kind]:
                return {kind: list(_filtered(self.of(kind).values(), str((params or {}).get("filter", ""))))}
        raise AssertionError(path)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Query | None = None,
        content: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - as the client is called
    ) -> requests.Response:
        self.calls.append((method, path, params))
        self.written += 1
        fails = self.written == self.fails_at
        if fails and not self.is_done:
            raise Dhis2DownError("cut")
        answer = self._answer(method, path, params or {}, content)
        if fails:
            raise Dhis2DownError("cut")
        return answer

    def refusal(self, response: requests.Response) -> Exception:
        return Dhis2PermanentError(f"status {response.status_code}")

    def _answer(self, method: str, path: str, params: Query, content: Any) -> requests.Response:  # noqa: ANN401 - as it comes
        if content is not None and len(content) > self.limit:
            return response(413, "")
        match method, path.split("/")[2:]:
            case "POST", ["metadata"]:
                return self._import(json.loads(content), str(params["importMode"]))
            case "POST", ["maintenance"]:
                return response(204, "")
            case ("POST", ["maps"]) | ("PUT", ["maps", _]):
                self.put("maps", json.loads(content))
                return response(201 if method == "POST" else 200, {"status": "OK"})
            case "POST", ["systemSettings", _]:
                self.zeros = content == b"true"
                return response(200, {"status": "OK"})
            case "POST", ["configuration", _]:
                self.period_types = [each["name"] for each in json.loads(content)]
                return response(204, "")
        raise AssertionError((method, path))

    def _import(self, bodies: dict[str, list[Body]], mode: str) -> requests.Response:
        reports = []
        created = 0
        mentioned = set(_ID.findall(json.dumps([self.objects, bodies])))
        there = {identifier for kind in self.objects for identifier in self.of(kind)}
        there |= {body["id"] for kind in bodies for body in bodies[kind]}
        assert not set(bodies) & set(MAPS)
        for kind, objects in bodies.items():
            assert kind in KINDS
            holders = self._holders(kind, objects)
            for body in objects:
                created += body["id"] not in self.of(kind)
                errors = [*_faults(body, holders)]
                errors += [
                    _error("E5002", [identifier], f"Invalid reference [{identifier}]")
                    for identifier in _references(body)
                    if identifier in mentioned and identifier not in there
                ]
                if errors:
                    klass = _KLASS.get(kind, f"org.hisp.dhis.{kind[0].upper()}{kind[1:-1]}")
                    reports.append(
                        {
                            "klass": klass,
                            "uid": body["id"],
                            "displayName": body["name"],
                            "errorReports": errors,
                        }
                    )
        total = sum(map(len, bodies.values()))
        if reports:
            stats = {"created": 0, "updated": 0, "deleted": 0, "ignored": total, "total": total}
            report = {"status": "ERROR", "stats": stats, "typeReports": [{"objectReports": reports}]}
            return response(409, {"httpStatus": "Conflict", "status": "WARNING", "response": report})
        if mode == "COMMIT":
            for kind, objects in bodies.items():
                for body in objects:
                    self.put(kind, body)
        stats = {"created": created, "updated": total - created, "deleted": 0, "ignored": 0, "total": total}
        return response(
            200, {"status": "OK", "response": {"status": "OK", "stats": stats, "typeReports": []}}
        )

    def _holders(self, kind: str, objects: list[Body]) -> dict[tuple[str, str], set[str]]:
        """Return who would have each code and name after the import."""
        unique = ["code"] if kind in {"sections", "categoryOptionCombos"} else ["code", "name"]
        unique += [] if kind in WITHOUT_SHORT_NAME else ["shortName"]
        holders: dict[tuple[str, str], set[str]] = {}
        for identifier, body in {**self.of(kind), **{each["id"]: each for each in objects}}.items():
            for name in unique:
                if body.get(name) is not None:
                    holders.setdefault((name, body[name]), set()).add(identifier)
        return holders


def _faults(body: Body, holders: dict[tuple[str, str], set[str]]) -> Iterator[Body]:
    for name, limit in _LIMITS.items():
        value = str(body.get(name, ""))
        if len(value) > limit:
            yield _error("E4001", [name], f"Maximum length of property `{name}`")
        for other in holders.get((name, value), set()) - {body["id"]}:
            yield _error(
                "E5003", [name, value, body["name"], other], f"Property `{name}` with value `{value}`"
            )


def _error(code: str, args: list[str], message: str) -> Body:
    return {"errorCode": code, "args": args, "message": message}


def _references(value: object) -> list[str]:
    """Return the identifiers of objects that a body refers to."""
    match value:
        case {"id": identifier, **rest} if not rest:
            return [str(identifier)]
        case dict():
            return [each for name, inner in value.items() if name != "sharing" for each in _references(inner)]
        case list():
            return [each for inner in value for each in _references(inner)]
        case str() if "#{" in value:
            return _ID.findall(value)
    return []


def _filtered(objects: Iterable[Body], condition: str) -> Iterator[Body]:
    if not condition:
        yield from objects
        return
    name, operator, text = condition.split(":", 2)
    wanted = {text} if operator == "eq" else set(text.strip("[]").split(","))
    *path, last = name.split(".")
    for body in objects:
        held = body
        for part in path:
            held = held.get(part, {})
        if held.get(last) in wanted:
            yield body
