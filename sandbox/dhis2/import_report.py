"""What ``/api/metadata`` answers: what is wrong with each object, and how many were created, updated and left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.dhis2.answers import Answer, json_answer
from sandbox.dhis2.kinds import Kind
from sandbox.dhis2.versions import Version

ERRORS_FOUND = "One or more errors occurred, please see full details in import report."


class FlushError(Exception):
    """DHIS2 takes an object, and its database does not: nothing is stored. The text is what it says."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an object; ``details`` are what its sentence names."""

    code: str
    text: str
    details: Sequence[object] = ()
    about: str | None = None
    main_id: str | None = None
    java_class: str | None = None
    main_class: str | None = None
    """The class of the part of the object that is wrong, where it is only a part."""

    def as_json(self, kind: Kind, version: Version) -> dict[str, Any]:
        """Return it as that version writes it: 2.40 has no ``args``."""
        body: dict[str, Any] = {
            "message": self.text,
            "mainKlass": self.main_class or kind.java_class,
            "errorCode": self.code,
            "errorProperties": list(self.details),
        }
        if version.is_at_least(Version.V2_41):
            body["args"] = [str(detail) for detail in self.details]
        optional = {
            "errorKlass": self.java_class,
            "errorProperty": self.about,
            "mainId": self.main_id,
        }
        return body | {name: value for name, value in optional.items() if value is not None}


@dataclass(slots=True)
class Found:
    """One object of a payload, and what is wrong with it."""

    kind: Kind
    index: int
    document: dict[str, Any]
    is_new: bool
    problems: list[Problem] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Its UID, as it came."""
        return str(self.document["id"])

    @property
    def display_name(self) -> str:
        """How reports call it: by its name, or else its UID."""
        if self.kind.plural == "users":
            return f"{self.document.get('firstName')} {self.document.get('surname')}"
        return str(self.document.get("name") or self.id)

    @property
    def described(self) -> str:
        """How sentences call it."""
        name = f"{self.document['name']} " if "name" in self.document else ""
        return f"{name}[{self.id}] ({self.kind.simple_name})"

    def report(self, version: Version, *, is_named: bool) -> dict[str, Any]:
        """Return its report."""
        body: dict[str, Any] = {"klass": self.kind.java_class, "index": self.index, "uid": self.id}
        if is_named:
            body["displayName"] = self.display_name
        return body | {"errorReports": [problem.as_json(self.kind, version) for problem in self.problems]}


def stats(*, created: int = 0, updated: int = 0, deleted: int = 0, ignored: int = 0) -> dict[str, int]:
    """Return the counts of a report."""
    counts = {"created": created, "updated": updated, "deleted": deleted, "ignored": ignored}
    return counts | {"total": sum(counts.values())}


def import_answer(
    found: Sequence[Found],
    stored: Sequence[Found],
    version: Version,
    *,
    is_named: bool,
    is_deletion: bool = False,
) -> Answer:
    """Answer with what became of each object.

    Parameters
    ----------
    stored
        Those that were stored or deleted, or would be.
    is_named
        Whether the reports have names: only where nothing was to be stored.
    """
    reports = [
        _type_report(
            [each for each in found if each.kind is kind],
            [each for each in stored if each.kind is kind],
            version,
            is_named=is_named,
            is_deletion=is_deletion,
        )
        for kind in dict.fromkeys(each.kind for each in found)
    ]
    total = {name: sum(report["stats"][name] for report in reports) for name in stats()}
    has_problems = any(each.problems for each in found)
    status = "OK" if not has_problems else "WARNING" if stored or is_deletion else "ERROR"
    body = {"status": status, "stats": total, "typeReports": reports, "responseType": "ImportReport"}
    if not has_problems:
        return json_answer({"httpStatus": "OK", "httpStatusCode": 200, "status": "OK", "response": body})
    return conflict("WARNING", ERRORS_FOUND, body)


def _type_report(
    found: Sequence[Found], stored: Sequence[Found], version: Version, *, is_named: bool, is_deletion: bool
) -> dict[str, Any]:
    new = sum(each.is_new for each in stored)
    counts = {"deleted": len(stored)} if is_deletion else {"created": new, "updated": len(stored) - new}
    # What refers to something that is not there counts twice.
    twice = sum(any(problem.code in _COUNTED_TWICE for problem in each.problems) for each in found)
    return {
        "klass": found[0].kind.java_class,
        "stats": stats(**counts, ignored=len(found) - len(stored) + twice),
        "objectReports": [each.report(version, is_named=is_named) for each in found if each.problems],
    }


_COUNTED_TWICE = ("E5002", "E4002")


def object_answer(found: Found, version: Version, *, status: str = "ERROR") -> Answer:
    """Answer for an object that came to an address of its own: to ``/api/maps`` and the like.

    ``status`` is said of one with problems.
    """
    problems = [problem.as_json(found.kind, version) for problem in found.problems]
    report = {
        "uid": found.id,
        "klass": found.kind.java_class,
        "errorReports": problems,
        "responseType": "ObjectReport",
    }
    if problems:
        return conflict(status, ERRORS_FOUND, report)
    code, text = (201, "Created") if found.is_new else (200, "OK")
    return json_answer({"httpStatus": text, "httpStatusCode": code, "status": "OK", "response": report}, code)


def conflict(status: str, text: str, response: Mapping[str, object] | None = None) -> Answer:
    """Answer 409."""
    body: dict[str, object] = {
        "httpStatus": "Conflict",
        "httpStatusCode": 409,
        "status": status,
        "message": text,
    }
    return json_answer(body if response is None else {**body, "response": response}, 409)
