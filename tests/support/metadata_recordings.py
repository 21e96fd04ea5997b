"""What real DHIS2 servers answered to calls that set them up, and to questions to their analytics."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import requests

from sandbox.dhis2 import StandIn, Version
from tests.support.dhis2_recordings import RECORDINGS

MORE = RECORDINGS / "more"
PASSWORDS = {
    "admin": "district",
    "zm_pusher": "ZmPusher123!",
    "zm_viewer": "ZmViewer123!",
    "zm_meta": "ZmMeta12345!",
}
IGNORED = {
    "index",  # is not reliable, on no version
    "created",
    "lastUpdated",
    "createdBy",
    "lastUpdatedBy",
    "time",
    "pager",
}
_MORE = re.compile(r"… (\d+) in all")


@dataclass(frozen=True)
class Recorded:
    """One recorded case."""

    name: str
    method: str
    path: str
    query: str
    user: str | None
    body: Any
    status: int
    said: Any

    @property
    def is_whole(self) -> bool:
        """Whether the request was recorded without being shortened."""
        return "… " not in json.dumps(self.body, ensure_ascii=False)


@cache
def recorded(version: Version) -> Mapping[str, Recorded]:
    """Return all cases of a version; of several with one name the first."""
    found: dict[str, Recorded] = {}
    (file,) = MORE.glob(f"metadata-{version}.*.jsonl")
    for line in file.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        request, response = case["request"], case["response"]
        login = re.search(r"user (\w+)", request["headers"].get("Authorization", ""))
        found.setdefault(
            case["case"],
            Recorded(
                name=case["case"],
                method=request["method"],
                path=request["path"],
                query=request["query"] or "",
                user=login[1] if login else None,
                body=request["body"],
                status=response["status"],
                said=response["body"],
            ),
        )
    return found


def send(dhis2: StandIn, case: Recorded) -> requests.Response:
    """Send what was sent to the real server."""
    text = case.body if isinstance(case.body, str) else json.dumps(case.body)
    kind = "text/plain" if "systemSettings" in case.path else "application/json"
    return requests.request(
        case.method,
        f"{dhis2.url}{case.path}?{case.query}",
        data=None if case.body is None else text.encode(),
        headers={"Content-Type": kind},
        auth=(case.user, PASSWORDS[case.user]) if case.user else None,
        allow_redirects=False,
        timeout=10,
    )


def differences(case: Recorded, answer: requests.Response) -> list[str]:
    """Return in what an answer is not the recorded one."""
    if answer.status_code != case.status:
        return [f"status {answer.status_code} instead of {case.status}: {answer.text[:500]}"]
    if case.said in ("", None):
        return [] if not answer.text else [f"{answer.text[:200]} instead of nothing"]
    return list(_differences(case.said, answer.json(), ""))


def _differences(recorded: object, said: object, where: str) -> Iterator[str]:
    if isinstance(recorded, dict):
        yield from _different_fields(recorded, said, where)
    elif isinstance(recorded, list):
        yield from _different_elements(recorded, said, where)
    elif recorded != said:
        yield f"{where}: {said!r} instead of {recorded!r}"


def _different_fields(recorded: Mapping[str, Any], said: object, where: str) -> Iterator[str]:
    if not isinstance(said, dict):
        yield f"{where}: {said!r} is no object"
        return
    for name in recorded.keys() - IGNORED:
        if name not in said:
            yield f"{where}.{name} is missing"
        else:
            yield from _differences(recorded[name], said[name], f"{where}.{name}")
    yield from (f"{where}.{name} is not recorded" for name in said.keys() - recorded.keys() - IGNORED)


def _different_elements(recorded: Sequence[Any], said: object, where: str) -> Iterator[str]:
    """Compare lists in whatever order; of a shortened one the number and what is left of it."""
    if not isinstance(said, list):
        yield f"{where}: {said!r} is no list"
        return
    shown, number = list(recorded), len(recorded)
    if shown and isinstance(shown[-1], str) and (shortened := _MORE.fullmatch(shown[-1])):
        shown, number = shown[:-1], int(shortened[1])
    if len(said) != number:
        yield f"{where}: {len(said)} instead of {number}: {json.dumps(said)[:600]}"
        return
    rest = list(said)
    for each in shown:
        found = next((other for other in rest if not list(_differences(each, other, where))), None)
        if found is None:
            yield f"{where}: {json.dumps(each)[:500]} is missing in {json.dumps(said)[:800]}"
        else:
            rest.remove(found)
