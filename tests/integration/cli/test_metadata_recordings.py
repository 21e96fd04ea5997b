"""What real servers took and answered, version by version, beside what the command sends and reads."""

import json
from functools import cache
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from cli.metadata import applying
from cli.metadata.plan import make_plan
from cli.metadata.refusals import RefusedImportError, read_report
from cli.metadata.shape import Shape
from cli.metadata.wanted import ACCESS, CHARTS, MAPS, METADATA, Body
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind
from tests.support.metadata_server import response
from tests.support.paths import SHARED
from tests.support.plans import brief, server

RECORDINGS = SHARED / "dhis2" / "more"
VERSIONS = ("2.40.12", "2.41.9.1", "2.42.5.2", "2.43.1")
pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not beside the project")
each_version = pytest.mark.parametrize("version", VERSIONS)

NOT_RECORDED = {
    # Objects of their own that every DHIS2 has; nothing of the recordings groups data elements.
    "dataElementGroups": {"id", "code", "name", "shortName", "dataElements", "sharing"},
    # The recorded roles have a description and these.
    "userRoles": {"authorities"},
}


def payload(version: str, setup: str) -> list[dict[str, Any]]:
    text = (RECORDINGS / "payloads" / f"payload-{setup}-{version}.json").read_text(encoding="utf-8")
    calls: list[dict[str, Any]] = json.loads(text)["calls"]
    return calls


@cache
def cases(version: str) -> list[dict[str, Any]]:
    lines = (RECORDINGS / f"metadata-{version}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def query_of(params: object) -> str | None:
    return "&".join(f"{name}={value}" for name, value in params.items()) if isinstance(params, dict) else None


@each_version
@pytest.mark.parametrize("setup", ["item", "coc"])
def test_calls(version: str, setup: str) -> None:
    there = server(version=version)
    plan = make_plan(brief(shape=Shape.ITEMS if setup == "item" else Shape.COMBOS, access=True), there)
    before = len(there.calls)
    applying.apply(plan, there, lambda *_: None)
    sent = [
        (method, path, query_of(params)) for method, path, params in there.calls[before:] if method != "GET"
    ]
    recorded = [(call["method"], call["path"], call["query"]) for call in payload(version, setup)]
    assert sent[: len(recorded)] == recorded
    assert len(sent) == len(recorded) or setup == "coc"


@each_version
def test_first_questions(version: str) -> None:
    there = server(version=version)
    applying.validate(make_plan(brief(), there), there, lambda *_: None)
    (validated,) = [(path, query_of(params)) for method, path, params in there.calls if method == "POST"]
    recorded = next(case["request"] for case in cases(version) if case["case"] == "validate_all_in_one")
    assert validated == (recorded["path"], recorded["query"])


def recorded_fields(version: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for setup in ("item", "coc"):
        for call in payload(version, setup):
            body = call["body"] or {}
            lists = {"maps": [body]} if call["path"] == "/api/maps" else body
            for kind, objects in lists.items():
                for each in objects:
                    found.setdefault(kind, set()).update(each)
    return found


@each_version
@pytest.mark.parametrize("shape", Shape)
def test_known_fields_only(version: str, shape: Shape) -> None:
    plan = make_plan(brief(shape=shape, access=True), server(version=version))
    known = recorded_fields(version)
    for kind, objects in plan.of((*ACCESS, *METADATA, *MAPS, *CHARTS)).items():
        fields = {name for each in objects for name in each}
        assert fields <= known.get(kind, set()) | NOT_RECORDED.get(kind, set()), kind


@each_version
def test_chart_forms(version: str) -> None:
    (charts,) = (
        call["body"] for call in payload(version, "item") if "visualizations" in (call["body"] or {})
    )
    types = {each["type"] for each in charts["visualizations"]}
    shown = {
        item["dataDimensionItemType"]
        for each in charts["visualizations"]
        for item in each["dataDimensionItems"]
    }
    for shape in Shape:
        made: list[Body] = make_plan(brief(shape=shape), server()).of(CHARTS)["visualizations"]
        assert {each["type"] for each in made} <= types
        assert {
            item["dataDimensionItemType"] for each in made for item in each["dataDimensionItems"]
        } <= shown


def client() -> Dhis2Client:
    credentials = Dhis2Credentials(kind=LoginKind.BASIC, username="admin", password=SecretStr("secret"))
    return Dhis2Client("https://dhis2.example.org", credentials)


def codes_in(report: Any) -> set[str]:  # noqa: ANN401 - as it was recorded
    match report:
        case {"errorCode": code}:
            return {str(code)}
        case dict():
            return {code for inner in report.values() for code in codes_in(inner)}
        case list():
            return {code for inner in report for code in codes_in(inner)}
    return set()


@each_version
def test_recorded_answers(version: str) -> None:
    read = 0
    for case in cases(version):
        asked, answered = case["request"], case["response"]
        if (asked["method"], asked["path"]) != ("POST", "/api/metadata") or answered[
            "status"
        ] == requests.codes.found:
            continue
        body = answered["body"]
        report = body.get("response") or {}
        if report.get("responseType") == "JobConfiguration":
            continue
        came = response(answered["status"], body)
        came.url, came.request = "https://dhis2.example.org/api/metadata", requests.PreparedRequest()
        came.request.headers = requests.structures.CaseInsensitiveDict()
        read += 1
        if answered["status"] == requests.codes.ok and report.get("status") == "OK":
            imported = read_report(client(), came, case["case"])
            stats = report["stats"]
            assert (imported.created, imported.updated) == (stats["created"], stats["updated"])
            continue
        with pytest.raises(Dhis2Error) as refused:
            read_report(client(), came, case["case"])
        codes = codes_in(report)
        if codes:
            assert isinstance(refused.value, RefusedImportError)
            assert {refusal.code for refusal in refused.value.refusals} == codes, case["case"]
    assert read > 60
