"""What the server sends back: the JSON around every message, import summaries, and its HTML pages."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self

from sandbox.dhis2.versions import Version

JSON = "application/json;charset=UTF-8"
HTML = "text/html;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; ``content_type`` is ``None`` where there is no body."""

    status: int
    content: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return the same answer with more headers."""
        return replace(self, headers={**self.headers, **headers})


def json_answer(body: object, status: int = 200) -> Answer:
    """Answer with a JSON document."""
    return Answer(status, json.dumps(body).encode(), JSON)


def message(status: int, text: str, error_code: str | None = None) -> Answer:
    """Answer with an error in the form that DHIS2 gives all of them."""
    body = {
        "httpStatus": HTTPStatus(status).phrase,
        "httpStatusCode": status,
        "status": "ERROR",
        "message": text,
    }
    if error_code is not None:
        body["errorCode"] = error_code
    return json_answer(body, status)


def unauthorized(text: str = "Unauthorized") -> Answer:
    """Answer to wrong credentials, in JSON."""
    return message(401, text)


def redirect(location: str, status: int = 302) -> Answer:
    """Answer that what was asked for is elsewhere."""
    return Answer(status, headers={"Location": location})


def page(status: int, title: str, text: str = "") -> Answer:
    """Answer with an HTML page, as containers and proxies do."""
    document = (
        f'<!doctype html><html lang="en"><head><title>{html.escape(title)}</title></head>'
        f"<body><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></body></html>"
    )
    return Answer(status, document.encode(), HTML)


def login_page() -> Answer:
    """Answer with what a redirect to the login page ends at: 200 and HTML."""
    return page(200, "DHIS 2 Login", "Username Password")


def not_found(version: Version, path: str, *, dispatched: bool) -> Answer:
    """Answer that there is nothing at this address, in the words of Tomcat (2.42 on) or Jetty.

    Parameters
    ----------
    dispatched
        Whether DHIS2 itself got the request; otherwise only the container did.
    """
    if version.runs_on_tomcat:
        return page(404, "HTTP Status 404 – Not Found", f"No static resource {path.strip('/')}.")  # noqa: RUF001 - Tomcat's dash
    return container_error(404, "Not Found", path, dispatched=dispatched)


def container_error(
    status: int, text: str, path: str, *, dispatched: bool, cause: str | None = None
) -> Answer:
    """Answer with an error of Jetty, the container of the recorded 2.40 and 2.41."""
    servlet = (
        "dispatcher" if dispatched else "org.eclipse.jetty.servlet.ServletHandler$Default404Servlet-2dcd168a"
    )
    body = {"servlet": servlet, "message": text, "url": path, "status": str(status)}
    if cause is not None:
        body["cause0"] = cause
    return json_answer(body, status)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why rows, or the whole request, were not imported.

    ``objects`` maps what kind of thing to which one; the first is the conflict's own object. ``indexes`` are
    the rows, counted from 0: ``None`` where the whole request is meant, -1 where 2.43 gives up.
    """

    error_code: str
    value: str
    objects: Mapping[str, str | None]
    property: str | None = None
    indexes: tuple[int, ...] | None = ()

    def as_json(self, *, by_group: bool) -> dict[str, Any]:
        """Return it as the server writes it; what is absent there is absent here."""
        body: dict[str, Any] = {}
        first = next(iter(self.objects.values()), None)
        if not by_group and first is not None:
            body["object"] = first
        body["objects"] = {kind: name for kind, name in self.objects.items() if name is not None}
        body["value"] = self.value
        body["errorCode"] = self.error_code
        if self.property is not None:
            body["property"] = self.property
        if self.indexes is not None:
            body["indexes"] = list(self.indexes)
        return body


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of one push. ``data_set_complete`` is ``None`` where the import was aborted."""

    status: str
    description: str | None = None
    imported: int = 0
    updated: int = 0
    ignored: int = 0
    deleted: int = 0
    conflicts: Sequence[Conflict] = ()
    rejected_indexes: Sequence[int] = ()
    data_set_complete: str | None = None

    def as_json(self, version: Version) -> dict[str, Any]:
        """Return it as that version writes it; 2.37 has no ``rejectedIndexes``."""
        body: dict[str, Any] = {"responseType": "ImportSummary", "status": self.status}
        if self.description is not None:
            body["description"] = self.description
        body["importCount"] = {
            "imported": self.imported,
            "updated": self.updated,
            "ignored": self.ignored,
            "deleted": self.deleted,
        }
        body["conflicts"] = [
            conflict.as_json(by_group=version.imports_by_group) for conflict in self.conflicts
        ]
        if not version.sends_bare_summary:
            body["rejectedIndexes"] = list(self.rejected_indexes)
        if self.data_set_complete is not None:
            body["dataSetComplete"] = self.data_set_complete
        return body


def summary_answer(summary: ImportSummary, version: Version, *, bare: bool) -> Answer:
    """Wrap an import summary: status and message follow from its own status, differently by version."""
    body = summary.as_json(version)
    if bare:
        return json_answer(body)
    status, outer, text = _OUTCOMES[summary.status]
    if summary.status == "WARNING" and version.imports_by_group:
        status, text = 200, "Import completed with warnings, please check import summary."
    return json_answer(
        {
            "httpStatus": HTTPStatus(status).phrase,
            "httpStatusCode": status,
            "status": outer,
            "message": text,
            "response": body,
        },
        status,
    )


_OUTCOMES = {
    "SUCCESS": (200, "OK", "Import was successful."),
    "WARNING": (409, "WARNING", "One more conflicts encountered, please check import summary."),
    "ERROR": (409, "ERROR", "An error occurred, please check import summary."),
}


def failed_import(reason: str) -> ImportSummary:
    """Return the summary of an import that broke off: zero counts, no conflicts (docs/dhis2.md, 3)."""
    return ImportSummary("ERROR", f"The import process failed: {reason}")
