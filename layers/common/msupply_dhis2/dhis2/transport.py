"""One session with one server: what is sent and received, and every failure of it in words.

No redirect is ever followed (without a login DHIS2 redirects to a page with status 200, and http to https
turns a POST into a GET), only JSON is taken for an answer, and an answer is bounded in time and in size. Nothing is
tried again here.
"""

import errno
import html
import http.client
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3.exceptions

from msupply_dhis2 import __version__
from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.dhis2.guard import ForbiddenAddressError, GuardedAdapter, PlainHttpError
from msupply_dhis2.dhis2.parsing import Query
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.redaction import Mask, writable

LARGEST_ANSWER = 32_000_000
"""Bytes, unpacked. A data set of 5,000 data elements with 24 option combos each, and 10,000 org units, is 13 million; push
has memory for twice as much."""

_PIECE = 65_536
_SAID_LIMIT = 300
"""Characters of an answer that are told: enough for its beginning, where DHIS2 says what is wrong."""

_LOOKED_AT = 65_536
"""Bytes of an answer that are looked at, so that no secret is cut in half before it is found."""

_COUNTS = re.compile(rb'(?<!\\)"importCount"\s*:\s*\{([^{}]*)\}')
_COUNT = re.compile(rb'"(imported|updated|ignored|deleted)"\s*:\s*(\d{1,12})')
_SHORTEST_SESSION = 16
"""Characters of a cookie that nobody can guess. A shorter one is the name of a server behind a load balancer, or a
language: what it says stands in many an answer."""
_PAGE_LOOKED_AT = 10_000
"""Characters of a page in which its title and first words are looked for."""

_PAGE_LIMIT = 160
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_LONGEST_ENCODED = 4
"""Bytes of a character."""

_OF_CONTAINER = re.compile(r"HTTP (?:Status|ERROR) \d{3}\b|Bad Message \d{3}\b")
"""Tomcat, Jetty, and Jetty where it cannot even read the call."""

_TITLE = re.compile(r"<title\b[^>]*>([^<]*)", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)

_EXPIRED = 10
_SELF_SIGNED = {18, 19}
_OTHER_NAME = {62, 64}
"""OpenSSL's verification results X509_V_ERR_…: HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH."""

_FAULT_BY_STATUS = {
    401: ConnectionFault.AUTHENTICATION,
    408: ConnectionFault.GATEWAY_TIMED_OUT,
    413: ConnectionFault.TOO_LARGE,
    429: ConnectionFault.TOO_MANY,
    502: ConnectionFault.NOT_AVAILABLE,
    503: ConnectionFault.NOT_AVAILABLE,
    504: ConnectionFault.GATEWAY_TIMED_OUT,
    # Cloudflare's own: the server behind it is down, cannot be reached, or did not answer in time.
    521: ConnectionFault.NOT_AVAILABLE,
    522: ConnectionFault.NOT_AVAILABLE,
    523: ConnectionFault.NOT_AVAILABLE,
    524: ConnectionFault.GATEWAY_TIMED_OUT,
}


class _AnswerTooLargeError(Exception):
    """More came than any answer of DHIS2's can hold."""


_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}

_FAULT_BY_KIND: tuple[tuple[tuple[type[BaseException], ...], ConnectionFault], ...] = (
    # In this order: what is said of a cause deep inside is truer than what is said of its wrapping.
    ((ForbiddenAddressError,), ConnectionFault.FORBIDDEN_ADDRESS),
    ((PlainHttpError,), ConnectionFault.PLAIN_HTTP),
    ((_AnswerTooLargeError,), ConnectionFault.ANSWER_TOO_LARGE),
    ((urllib3.exceptions.ProxyError,), ConnectionFault.PROXY),
    ((socket.gaierror,), ConnectionFault.NAME_NOT_RESOLVED),
    ((ConnectionRefusedError,), ConnectionFault.REFUSED),
    ((urllib3.exceptions.ReadTimeoutError,), ConnectionFault.READ_TIMED_OUT),
    ((urllib3.exceptions.ConnectTimeoutError,), ConnectionFault.CONNECT_TIMED_OUT),
    ((ConnectionError, ssl.SSLEOFError, http.client.IncompleteRead), ConnectionFault.CUT),
    ((ssl.SSLError,), ConnectionFault.TLS),
    ((urllib3.exceptions.DecodeError, http.client.HTTPException), ConnectionFault.NOT_JSON),
    ((requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema), ConnectionFault.BAD_ADDRESS),
    ((requests.exceptions.MissingSchema,), ConnectionFault.BAD_ADDRESS),
    ((ValueError,), ConnectionFault.NOT_JSON),
)


def _authorized(header: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what puts the header ``Authorization`` on a call: none where it is empty, whatever a ``.netrc`` holds."""

    def put(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if header:
            request.headers["Authorization"] = header
        return request

    return put


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - whatever it is
        """Return none: to see where a redirect leads, requests would read all that comes with it, without bounds."""
        return None


class Transport:
    """A session with a server: its connections and its cookie.

    ``user`` is who logs in, for messages; ``secrets`` returns whatever a server may echo and no message may show;
    ``timeouts`` are the seconds to connect in, and to wait for an answer in; ``ca_certificate`` is PEM text; ``tell`` is
    given a line for the log about each call.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user: str,
        secrets: Callable[[], Iterable[str]],
        timeouts: tuple[float, float],
        ca_certificate: str | None,
        allow_plain_http: bool,
        tell: Callable[[LogRecord], None] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._user = user
        self._secrets = secrets
        self._connect_timeout, self._read_timeout = timeouts
        self._tell = tell
        self._has_answered = False
        """Whether DHIS2 itself has answered: then it is there, whatever comes later."""
        self._session = _Session()
        self._session.mount("http://", GuardedAdapter(allow_plain_http=allow_plain_http))
        self._session.mount("https://", GuardedAdapter(ca_certificate=ca_certificate))
        self._session.headers.update(
            {
                "Accept": "application/json",
                # With this header a refused login is a 401 in JSON rather than a redirect to a login page.
                "X-Requested-With": "XMLHttpRequest",
                "User-Agent": f"msupply-dhis2/{__version__}",
            }
        )

    def close(self) -> None:
        """Close the session's connections."""
        self._session.close()

    @property
    def shown_url(self) -> str:
        """The address without a user name and password, should somebody have put them there."""
        scheme, separator, rest = self._base_url.partition("://")
        authority, slash, path = rest.partition("/")
        return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"

    @property
    def has_cookie(self) -> bool:
        """Whether the server knows us by a cookie."""
        return bool(self._session.cookies)

    def send(
        self,
        method: str,
        path: str,
        authorization: str,
        *,
        params: Query | None = None,
        content: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        """Make one call below the address of DHIS2 and return its answer, whatever its status; raise where there is none.

        ``authorization`` is the header, empty for none; ``content`` the body, or the fields of a form. The session's cookie
        is dropped where the answer is a redirect or a 401: it has come to its end.
        """
        seconds = self._read_timeout if read_timeout is None else read_timeout
        sent = len(content) if isinstance(content, bytes) else 0
        started = time.perf_counter()
        try:
            response = self._session.request(
                method,
                self._base_url + path,
                params=params,
                data=content,
                headers=headers,
                auth=_authorized(authorization),
                timeout=(self._connect_timeout, seconds),
                allow_redirects=False,
                stream=True,
            )
            _read_whole(response)
            came: requests.Response | ConnectionFault = response
        except (requests.RequestException, urllib3.exceptions.HTTPError, _AnswerTooLargeError) as error:
            came = _fault(error)
        if self._tell is not None:
            self._tell(self._call_record(method, path, time.perf_counter() - started, sent, came))
        if isinstance(came, ConnectionFault):
            # Outside the except clause, so that the error has no context: a request of requests holds the login.
            raise self.error(came, seconds=seconds)
        if came.is_redirect or came.status_code == requests.codes.unauthorized:
            self._session.cookies.clear()
        return came

    def _call_record(
        self, method: str, path: str, seconds: float, sent: int, came: requests.Response | ConnectionFault
    ) -> LogRecord:
        """Return the line of the log about a call: what was asked, what came back, and how long that took."""
        call: dict[str, object] = {
            "method": method,
            "path": path,
            "seconds": round(seconds, 3),
            "bytes_sent": sent,
        }
        if isinstance(came, ConnectionFault):
            call["fault"] = came.value.kind
            outcome = f"no answer ({came.value.kind})"
        else:
            call |= {"status": came.status_code, "bytes_received": len(came.content)}
            outcome = f"status {came.status_code}"
            if counts := _COUNTS.search(came.content):
                call |= {name.decode(): int(number) for name, number in _COUNT.findall(counts[1])}
            if path.startswith("/api/"):
                # What answers elsewhere is a token.
                begin = came.content[:_LOOKED_AT].decode("utf-8", "replace")
                call["answer"] = self.mask(came).text(begin, _SAID_LIMIT)
        message = f"{method} {path}: {outcome} after {call['seconds']} s."
        return LogRecord(LogEvent.DHIS2_CALL, logging.INFO, message, call)

    def json(self, response: requests.Response) -> object:
        """Parse an answer; raise where it is a web page, or no JSON."""
        try:
            parsed = _parse_json(response.content)
        except (ValueError, RecursionError):
            claims_json = "json" in response.headers.get("Content-Type", "").lower()
            if not is_page(response) and (claims_json or not self._has_answered):
                fault = ConnectionFault.NOT_JSON
            else:
                fault = ConnectionFault.BEFORE_DHIS2 if self._has_answered else ConnectionFault.NOT_DHIS2
        else:
            self._has_answered = True
            return parsed
        raise self.refusal(response, fault)

    def refusal(self, response: requests.Response, fault: ConnectionFault | None = None) -> Dhis2Error:
        """Return the error that an answer stands for; ``fault`` where the caller knows better than the status tells."""
        body = fields(response)
        fault = fault or self._fault_of_refusal(response, body)
        retry_after = _seconds_to_wait(response)
        detail = ", ".join((f"status {response.status_code}", *self._said(response, body)))
        if retry_after is not None and fault.value.error.is_transient:
            # Not as it came, which may be anything.
            detail += f", Retry-After: {retry_after:g}"
        return self.error(fault, detail, retry_after=retry_after)

    def redirection(self, response: requests.Response) -> Dhis2Error:
        """Return where a redirect leads, and what that means."""
        here = urlsplit(self._base_url)
        try:
            there = urlsplit(urljoin(response.url, response.headers["Location"]))
        except ValueError:
            return self.error(ConnectionFault.REDIRECT, f"status {response.status_code}, to no address")
        same_server = here.hostname == there.hostname
        if here.scheme == "http" and there.scheme == "https" and same_server:
            fault = ConnectionFault.REDIRECT_TO_HTTPS
        elif "login" in there.path:
            fault = ConnectionFault.REDIRECT_TO_LOGIN
        elif self._has_answered:
            fault = ConnectionFault.BEFORE_DHIS2
        else:
            fault = ConnectionFault.REDIRECT
        to = self.mask(response).text(_shown(there))
        return self.error(fault, f"status {response.status_code}, to {to}")

    def error(
        self,
        fault: ConnectionFault,
        detail: str = "",
        *,
        seconds: float | None = None,
        retry_after: float | None = None,
    ) -> Dhis2Error:
        """Return a fault in the words of the catalogue, with the server's own; ``seconds`` an answer was waited for."""
        words = fault.value
        waited = self._connect_timeout if fault is ConnectionFault.CONNECT_TIMED_OUT else seconds
        problem = words.problem.format(url=self.shown_url, username=self._user, seconds=f"{waited or 0:g}")
        message = f"{problem}{f' ({detail})' if detail else ''}. {words.cure}."
        error = words.error(message, retry_after=retry_after)
        error.may_still_be_applied = words.may_still_be_applied
        return error

    def mask(self, response: requests.Response) -> Mask:
        """Return what takes the login out of an answer, also the session's cookie, which is as good as a password."""
        cookies = [cookie.value or "" for cookie in (*self._session.cookies, *response.cookies)]
        brought = response.request.headers.get("Cookie", "")
        cookies += [part.partition("=")[2] for part in str(brought).split("; ")]
        sessions = (cookie for cookie in cookies if len(cookie) >= _SHORTEST_SESSION)
        return Mask([*self._secrets(), *sessions])

    def _fault_of_refusal(self, response: requests.Response, body: Mapping[str, object]) -> ConnectionFault:
        status = response.status_code
        if status in _FAULT_BY_STATUS:
            return _FAULT_BY_STATUS[status]
        if _is_of_dhis2(body):
            self._has_answered = True
            return _fault_of_dhis2(status)
        if _is_of_container(response, body):
            if status not in {requests.codes.not_found, requests.codes.method_not_allowed}:
                return _fault_of_dhis2(status)
            # It runs without DHIS2: DHIS2 is being upgraded perhaps, or was never at this path.
            return ConnectionFault.NOT_AVAILABLE if self._has_answered else ConnectionFault.NOT_FOUND
        if status == requests.codes.not_found and not self._has_answered:
            return ConnectionFault.NOT_FOUND
        is_fault = status >= requests.codes.server_error and status != requests.codes.not_implemented
        return ConnectionFault.FAULT_PAGE if is_fault else ConnectionFault.BEFORE_DHIS2

    def _said(self, response: requests.Response, body: Mapping[str, object]) -> Iterator[str]:
        """Yield the server's own words, and whose they are where they are not DHIS2's."""
        mask = self.mask(response)
        message = body.get("message") or body.get("error_description")
        if isinstance(message, str):
            yield f'"{_on_one_line(message, mask, _SAID_LIMIT)}"'
        elif not body and (words := _words_of(response, mask)):
            yield f'the page "{words}"'
        if (server := response.headers.get("Server")) and not _is_of_dhis2(body):
            yield f"server {_on_one_line(server, mask, _SAID_LIMIT)}"


def _read_whole(response: requests.Response) -> None:
    """Read an answer to its end, unless it is larger than any that is asked for."""
    content = bytearray()
    for piece in response.iter_content(_PIECE):
        content += piece
        if len(content) > LARGEST_ANSWER:
            response.close()
            raise _AnswerTooLargeError
    # requests itself reads all that comes, however much that is.
    response._content = bytes(content)  # noqa: SLF001


def _parse_json(content: bytes) -> object:
    r"""Parse JSON; half a character (``\ud800``), which JSON can say and nothing can write, becomes a sign for it."""
    text = content.decode("utf-8-sig", "surrogatepass")
    parsed: object = json.loads(text)
    if _HALF_A_CHARACTER.search(text):
        parsed = json.loads(writable(json.dumps(parsed, ensure_ascii=False)))
    return parsed


def fields(response: requests.Response) -> Mapping[str, object]:
    """Return the fields of a JSON object, or none where the answer is something else."""
    try:
        body = _parse_json(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def is_page(response: requests.Response) -> bool:
    """Return whether an answer is a web page."""
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"


def _is_of_dhis2(body: Mapping[str, object]) -> bool:
    """Return whether it is DHIS2's own refusal: ``httpStatus`` is in all of them but in those of old versions, which have ``status``."""
    return "httpStatus" in body or (isinstance(body.get("status"), str) and "servlet" not in body)


def _is_of_container(response: requests.Response, body: Mapping[str, object]) -> bool:
    """Return whether Tomcat or Jetty refuses, in which DHIS2 runs, or the part that hands out OAuth2 tokens."""
    return (
        "servlet" in body or isinstance(body.get("error"), str) or bool(_OF_CONTAINER.search(_text(response)))
    )


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
    # Enough for a secret that begins within what is looked at.
    return response.content[: _LONGEST_ENCODED * _PAGE_LOOKED_AT].decode("utf-8", "replace")


def _fault_of_dhis2(status: int) -> ConnectionFault:
    """Return what a refusal in DHIS2's own words, or of what it runs in, is."""
    if status == requests.codes.forbidden:
        return ConnectionFault.FORBIDDEN
    is_fault = status >= requests.codes.server_error
    return ConnectionFault.SERVER_FAULT if is_fault else ConnectionFault.REFUSED_REQUEST


def _seconds_to_wait(response: requests.Response) -> float | None:
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


def _shown(address: SplitResult) -> str:
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


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


def _fault(error: BaseException) -> ConnectionFault:
    """Return what an error of requests is about."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_fault(cause.verify_code)
        if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
            return ConnectionFault.UNREACHABLE
    for kinds, fault in _FAULT_BY_KIND:
        if any(isinstance(cause, kinds) for cause in causes):
            return fault
    return ConnectionFault.CUT


def _certificate_fault(verify_code: int) -> ConnectionFault:
    if verify_code == _EXPIRED:
        return ConnectionFault.CERTIFICATE_EXPIRED
    if verify_code in _SELF_SIGNED:
        return ConnectionFault.CERTIFICATE_SELF_SIGNED
    if verify_code in _OTHER_NAME:
        return ConnectionFault.CERTIFICATE_OTHER_NAME
    return ConnectionFault.CERTIFICATE_NOT_TRUSTED
