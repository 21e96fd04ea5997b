"""What an answer is that is not what was asked for, and what went wrong where there is none.

DHIS2 answers in its own words, the server that it runs in, a proxy or a firewall before it in theirs.
"""

import errno
import html
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3.exceptions
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.dhis2.guard import AnswerTooLargeError, ForbiddenAddressError, PlainHttpError
from msupply_dhis2.redaction import Mask, writable

SAID_LIMIT = 300
"""Characters of an answer that are told: enough for its beginning, where DHIS2 says what is wrong."""

_PAGE_LOOKED_AT = 10_000
"""Characters of a page in which its title and first words are looked for."""

_PAGE_LIMIT = 160
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_OF_CONTAINER = re.compile(r"HTTP (?:Status|ERROR) \d{3}\b|Bad Message \d{3}\b")
"""Tomcat, Jetty, and Jetty where it cannot even read the call."""

_TITLE = re.compile(r"<title\b[^>]*>([^<]*)", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)

_FAULT_BY_STATUS = {
    401: ConnectionFault.AUTHENTICATION_FAILED,
    408: ConnectionFault.GATEWAY_TIMED_OUT,
    413: ConnectionFault.REQUEST_TOO_LARGE,
    429: ConnectionFault.TOO_MANY_REQUESTS,
    502: ConnectionFault.SERVER_NOT_AVAILABLE,
    503: ConnectionFault.SERVER_NOT_AVAILABLE,
    504: ConnectionFault.GATEWAY_TIMED_OUT,
    # Cloudflare's own: the server behind it is down, cannot be reached, or did not answer in time.
    521: ConnectionFault.SERVER_NOT_AVAILABLE,
    522: ConnectionFault.SERVER_NOT_AVAILABLE,
    523: ConnectionFault.SERVER_NOT_AVAILABLE,
    524: ConnectionFault.GATEWAY_TIMED_OUT,
}

_FAULT_BY_VERIFICATION = {
    10: ConnectionFault.CERTIFICATE_EXPIRED,
    18: ConnectionFault.CERTIFICATE_SELF_SIGNED,
    19: ConnectionFault.CERTIFICATE_SELF_SIGNED,
    62: ConnectionFault.CERTIFICATE_OTHER_NAME,
    64: ConnectionFault.CERTIFICATE_OTHER_NAME,
}
"""By OpenSSL's verification results X509_V_ERR_…; 62 and 64 are HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH."""

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}

_FAULT_BY_KIND: tuple[tuple[tuple[type[BaseException], ...], ConnectionFault], ...] = (
    # In this order: what is said of a cause deep inside is truer than what is said of its wrapping.
    ((ForbiddenAddressError,), ConnectionFault.FORBIDDEN_ADDRESS),
    ((PlainHttpError,), ConnectionFault.PLAIN_HTTP),
    ((AnswerTooLargeError,), ConnectionFault.ANSWER_TOO_LARGE),
    ((urllib3.exceptions.ProxyError,), ConnectionFault.PROXY),
    ((socket.gaierror,), ConnectionFault.NAME_NOT_RESOLVED),
    ((ConnectionRefusedError,), ConnectionFault.CONNECTION_REFUSED),
    ((urllib3.exceptions.ReadTimeoutError,), ConnectionFault.READ_TIMED_OUT),
    ((urllib3.exceptions.ConnectTimeoutError,), ConnectionFault.CONNECT_TIMED_OUT),
    ((ConnectionError, ssl.SSLEOFError, http.client.IncompleteRead), ConnectionFault.CONNECTION_CUT),
    ((ssl.SSLError,), ConnectionFault.NO_TLS),
    ((InvalidURL, InvalidSchema, MissingSchema), ConnectionFault.BAD_ADDRESS),
    ((urllib3.exceptions.DecodeError, http.client.HTTPException, ValueError), ConnectionFault.NOT_JSON),
)


def parse_json(content: bytes) -> object:
    r"""Parse JSON; half a character (``\ud800``), which JSON can say and nothing can write, becomes a sign for it."""
    text = content.decode("utf-8-sig", "surrogatepass")
    parsed: object = json.loads(text)
    if _HALF_A_CHARACTER.search(text):
        parsed = json.loads(writable(json.dumps(parsed, ensure_ascii=False)))
    return parsed


def fields(response: requests.Response) -> Mapping[str, object]:
    """Return the fields of a JSON object, or none where the answer is something else."""
    try:
        body = parse_json(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def is_page(response: requests.Response) -> bool:
    """Return whether an answer is a web page."""
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"


def is_of_dhis2(body: Mapping[str, object]) -> bool:
    """Return whether it is DHIS2's own refusal: ``httpStatus`` is in all of them but in those of old versions, which have ``status``."""
    return "httpStatus" in body or (isinstance(body.get("status"), str) and "servlet" not in body)


def fault_of_answer(
    response: requests.Response, body: Mapping[str, object], *, has_answered: bool
) -> ConnectionFault:
    """Return what a refusal is about; ``has_answered`` tells whether DHIS2 itself is known to be there."""
    status = response.status_code
    if status in _FAULT_BY_STATUS:
        return _FAULT_BY_STATUS[status]
    # Tomcat or Jetty, in which DHIS2 runs, or the part that hands out OAuth2 tokens.
    of_container = (
        "servlet" in body or isinstance(body.get("error"), str) or _OF_CONTAINER.search(_text(response))
    )
    is_absent = status in {requests.codes.not_found, requests.codes.method_not_allowed}
    is_fault = status >= requests.codes.server_error
    if is_of_dhis2(body) or (of_container and not is_absent):
        if status == requests.codes.forbidden:
            return ConnectionFault.FORBIDDEN
        return ConnectionFault.SERVER_FAULT if is_fault else ConnectionFault.REFUSED_REQUEST
    if not has_answered and (of_container or status == requests.codes.not_found):
        return ConnectionFault.NOT_FOUND
    if of_container:
        # It runs without DHIS2, which is being upgraded perhaps.
        return ConnectionFault.SERVER_NOT_AVAILABLE
    is_page_of_fault = is_fault and status != requests.codes.not_implemented
    return ConnectionFault.FAULT_PAGE if is_page_of_fault else ConnectionFault.BEFORE_DHIS2


def said(response: requests.Response, body: Mapping[str, object], mask: Mask) -> Iterator[str]:
    """Yield the server's own words, and whose they are where they are not DHIS2's."""
    message = body.get("message") or body.get("error_description")
    if isinstance(message, str):
        yield f'"{_on_one_line(message, mask, SAID_LIMIT)}"'
    elif not body and (words := _words_of(response, mask)):
        yield f'the page "{words}"'
    if (server := response.headers.get("Server")) and not is_of_dhis2(body):
        yield f"server {_on_one_line(server, mask, SAID_LIMIT)}"


def _words_of(response: requests.Response, mask: Mask) -> str:
    """Return the title and the first words of an answer that is no JSON; nothing where it is empty."""
    # A secret may be written there as in a page, so that it is looked for before and after that is read.
    text = mask.text(_text(response), _PAGE_LOOKED_AT)
    title = " ".join(html.unescape(found[1]).split()) if (found := _TITLE.search(text)) else ""
    seen = " ".join(html.unescape(_UNSEEN.sub(" ", text)).split()).removeprefix(title).strip()
    return _on_one_line(": ".join(part for part in (title, seen) if part), mask, _PAGE_LIMIT)


def _on_one_line(text: str, mask: Mask, limit: int) -> str:
    """Return the beginning of what a server says, without anything secret that it may repeat."""
    line = " ".join(mask.text(text, limit).split())
    shortened = "…" if len(text) > limit else ""
    return "".join(character for character in line if character.isprintable()).strip() + shortened


def _text(response: requests.Response) -> str:
    # A character has four bytes at most: enough for a secret that begins within what is looked at.
    return response.content[: 4 * _PAGE_LOOKED_AT].decode("utf-8", "replace")


def seconds_to_wait(response: requests.Response) -> float | None:
    """Read ``Retry-After``, which holds seconds or an instant (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    then = _instant(text)
    if then is None:
        return None
    # By the server's own clock, where it tells it: that is the one its instant is of.
    now = _instant(response.headers.get("Date", "")) or datetime.now(UTC)
    return max((then - now).total_seconds(), 0.0)


def _instant(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def fault_of_error(error: BaseException) -> ConnectionFault:
    """Return what an error of requests is about."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _FAULT_BY_VERIFICATION.get(cause.verify_code, ConnectionFault.CERTIFICATE_NOT_TRUSTED)
        if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
            return ConnectionFault.UNREACHABLE
    for kinds, fault in _FAULT_BY_KIND:
        if any(isinstance(cause, kinds) for cause in causes):
            return fault
    return ConnectionFault.CONNECTION_CUT


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk what is wrapped in an error, wherever requests and urllib3 put it, outermost first."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting += [candidate for candidate in inner if isinstance(candidate, BaseException)]
