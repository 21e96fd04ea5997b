"""A session with DHIS2's Web API: logged in, compressed where the server takes it, and every failure in words.

No redirect is ever followed (without a login DHIS2 redirects to a page with status 200, and http to https
turns a POST into a GET), only JSON is taken for an answer, and an answer is bounded in time and in size. Nothing is
tried again here, but for what costs nothing and harms nobody: with another access token, without a cookie that has come
to its end, without compression, and once more after the moment that a proxy asks to wait.
"""

import gzip
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from msupply_dhis2 import __version__
from msupply_dhis2.dhis2.answers import (
    SAID_LIMIT,
    fault_of_answer,
    fault_of_error,
    fields,
    is_of_dhis2,
    is_page,
    parse_json,
    said,
    seconds_to_wait,
)
from msupply_dhis2.dhis2.auth import login_of
from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.dhis2.guard import AnswerTooLargeError, GuardedSession, read_whole
from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2SlowError
from msupply_dhis2.redaction import Mask
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials

CONNECT_TIMEOUT = 5.0
"""Seconds: a firewall that drops packets is not worth a longer wait."""

READ_TIMEOUT = 300.0
"""Seconds: servers are known that import 5 values a second, and a proxy before DHIS2 gives up by itself."""

_COMPRESSED_FROM = 1_000
"""Bytes: what is shorter fits into one packet as it is."""

_COMPRESSION = 3
"""The level of gzip. With 1,000 values levels 1 to 3 take 0.2 ms and leave 7 of 120 kB; 6 takes 0.5 ms for 0.6 kB less."""

_PLAIN = {"Content-Type": "application/json"}
_GZIP = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
_NOT_UNDERSTOOD = {400, 415}
_BROKE_OFF = b"The import process failed"
_ENOUGH_TO_GIVE_UP = 2

_LOOKED_AT = 65_536
"""Bytes of an answer that are looked at, so that no secret is cut in half before it is found."""

_COUNTS = re.compile(rb'(?<!\\)"importCount"\s*:\s*\{([^{}]*)\}')
_COUNT = re.compile(rb'"(imported|updated|ignored|deleted)"\s*:\s*(\d{1,12})')
_SHORTEST_SESSION = 16
"""Characters of a cookie that nobody can guess: a shorter one is a server's name, or a language, as many an answer has."""

_MOMENT_SECONDS = 20.0
"""So long at most a proxy that limits the rate is waited for."""

_WAIT_SECONDS = 5.0
"""Where a proxy does not say how long to wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    """DHIS2's answer to a push.

    ``status`` 409 may be partial success. ``body`` is parsed from JSON, as it came: what becomes of a value hangs on it.
    ``mask`` takes out of the body what a server, or a proxy, may repeat there of the login. ``seconds``: how long it took.
    """

    status: int
    body: object = field(repr=False)
    seconds: float = 0.0
    mask: Mask = field(default_factory=lambda: Mask(()), repr=False)


@dataclass(slots=True)
class Deadline:
    """The time that several calls may take together, and their patience with a proxy that limits the rate.

    Messages that went back to the queue at once would come again and again, and keep each other from getting through. Who is
    asked to wait for longer than there is time for asks no later question either. ``kept`` are the seconds that nothing waits
    in, ``given_up`` says why a call was given up.
    """

    seconds_left: Callable[[], float] = lambda: math.inf
    kept: float = 0.0
    given_up: str = "There is no time left to ask DHIS2."
    pause: Callable[[float], None] = time.sleep
    _sent_away: Dhis2Error | None = None

    @classmethod
    def within(cls, seconds: float | None) -> Self:
        """Return the end of a test of the connection that may take so many seconds, ``None`` for any number."""
        if seconds is None:
            return cls()
        end = time.monotonic() + seconds
        return cls(
            lambda: end - time.monotonic(),
            given_up=f"DHIS2 did not answer all questions of the test within {seconds:.0f} seconds, so this one has no answer. Pushes wait longer. Test again at a quieter time.",
        )

    def insist(self) -> float:
        """Return the seconds that are left; raise where no call is to be made any more."""
        if self._sent_away is not None:
            raise self._sent_away
        if (left := self.seconds_left()) <= 0:
            raise Dhis2SlowError(self.given_up)
        return left

    def sleep(self, seconds: float) -> None:
        """Wait; raise where there is no time for it."""
        if seconds >= self.insist():
            raise Dhis2SlowError(self.given_up)
        self.pause(seconds)

    def wait_for(self, error: Dhis2Error) -> float:
        """Wait until a proxy takes calls again, and return for how long; raise where there is no time for it."""
        wait = _WAIT_SECONDS if error.retry_after is None else error.retry_after
        if wait >= min(_MOMENT_SECONDS, self.seconds_left() - self.kept):
            self._sent_away = error
            raise error
        self.pause(wait)
        return wait


class Dhis2Client:
    """A session with one DHIS2 server for one user. For one thread at a time.

    The session's cookie is kept and sent along with the login: checking a password costs the server about
    100 ms a call, the cookie 6 ms. ``base_url`` is as the settings have it; ``ca_certificate`` is PEM text; ``tell`` is given a
    line for the log about each call.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Dhis2Credentials,
        *,
        read_timeout: float = READ_TIMEOUT,
        ca_certificate: str | None = None,
        allow_plain_http: bool = False,
        tell: Callable[[LogRecord], None] = lambda _: None,
    ) -> None:
        self.deadline = Deadline()
        """The time that the next calls may take together."""
        self.refused_login: Dhis2AuthenticationError | None = None
        """How DHIS2 refused the login, where it did."""
        self.compresses = True
        """Whether long bodies are sent compressed: not from when the server, or what stands before it, refused one."""
        self._base_url = base_url
        self._user = credentials.user
        self._login = login_of(credentials)
        self._read_timeout = read_timeout
        self._tell = tell
        self._session = GuardedSession(ca_certificate=ca_certificate, allow_plain_http=allow_plain_http)
        self._session.headers.update(
            {
                "Accept": "application/json",
                # With this header a refused login is a 401 in JSON rather than a redirect to a login page.
                "X-Requested-With": "XMLHttpRequest",
                "User-Agent": f"msupply-dhis2/{__version__}",
            }
        )
        self._has_answered = False
        """Whether DHIS2 itself has answered: then it is there, whatever comes later."""
        self._next_plain = False
        self._damaged = 0
        """How many compressed bodies in a row may have been damaged on the way, and no plain one."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        credentials: Dhis2Credentials,
        *,
        read_timeout: float = READ_TIMEOUT,
        tell: Callable[[LogRecord], None] = lambda _: None,
    ) -> Self:
        """Return a session with the DHIS2 of the settings."""
        return cls(
            str(settings.url),
            credentials,
            read_timeout=read_timeout,
            ca_certificate=settings.dhis2_ca_certificate,
            allow_plain_http=settings.allow_plain_http,
            tell=tell,
        )

    def __repr__(self) -> str:
        return f"Dhis2Client({self._base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session's connections."""
        self._session.close()

    def get(self, path: str, params: Query | None = None) -> object:
        """Read what stands below the address of DHIS2, such as ``/api/me``, parsed from JSON."""
        response = self.call("GET", path, params=params)
        if not response.ok:
            raise self.refusal(response)
        return self.json(response)

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post data values (``import_request``), and wait for so many seconds, where not for as long as the client does.

        Statuses 200 to 299, and 409, are an answer for ``read_import_summary``. After a transient error some values may be
        stored already. Something is read before: on 2.43.0 a token may fail with its first use.
        """
        content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
        send = partial(self.call, "POST", "/api/dataValueSets", params=params, read_timeout=read_timeout)
        plain = partial(send, content=content, headers=_PLAIN)
        compressed = self.compresses and not self._next_plain and len(content) >= _COMPRESSED_FROM
        if compressed:
            response = send(content=gzip.compress(content, _COMPRESSION, mtime=0), headers=_GZIP)
        else:
            response = plain()
        if compressed and response.status_code in _NOT_UNDERSTOOD:
            response = plain()
            # Where the same goes wrong plain too, compression was not to blame.
            self.compresses = response.status_code in _NOT_UNDERSTOOD
        has_outcome = response.ok or response.status_code == requests.codes.conflict
        # Up to 2.42 the import of a damaged body breaks off, from 2.43 DHIS2 fails at it. It is not sent again here: some of it
        # may be stored, and whoever sent it knows whether it may be sent twice.
        may_be_damaged = response.status_code == requests.codes.internal_server_error or (
            has_outcome and _BROKE_OFF in response.content
        )
        self._next_plain = compressed and may_be_damaged
        if compressed or may_be_damaged:
            self._damaged = self._damaged + 1 if self._next_plain else 0
        self.compresses = self.compresses and self._damaged < _ENOUGH_TO_GIVE_UP
        if not has_outcome:
            raise self.refusal(response)
        seconds = response.elapsed.total_seconds()
        return Answer(response.status_code, self.json(response), seconds, self.mask(response))

    def call(
        self,
        method: str,
        path: str,
        *,
        authorization: str | None = None,
        params: Query | None = None,
        content: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        """Make one call, logged in, and return its answer, whatever its status but a redirect; raise where there is none.

        ``content`` is the body, or the fields of a form. With an ``authorization`` of its own (the header, empty for none) a
        redirect is returned too.
        """
        seconds = self._read_timeout if read_timeout is None else read_timeout
        is_renewed = has_waited = False
        while True:
            header = self._login.authorization(self) if authorization is None else authorization
            had_cookie = bool(self._session.cookies)
            left = self.deadline.insist()
            started = time.perf_counter()
            try:
                response = self._session.request(
                    method,
                    self._base_url + path,
                    params=params,
                    data=content,
                    headers=headers,
                    auth=partial(_authorized, header),
                    timeout=(min(CONNECT_TIMEOUT, left), min(seconds, left)),
                    allow_redirects=False,
                    stream=True,
                )
                read_whole(response)
                came: requests.Response | ConnectionFault = response
            except (requests.RequestException, urllib3.exceptions.HTTPError, AnswerTooLargeError) as error:
                came = fault_of_error(error)
            took = round(time.perf_counter() - started, 3)
            length = len(content) if isinstance(content, bytes) else 0
            self._tell_call({"method": method, "path": path, "seconds": took, "bytes_sent": length}, came)
            if isinstance(came, ConnectionFault):
                # Outside the except clause, so that the error has no context: a request of requests holds the login.
                raise self.error(came, seconds=seconds)
            is_over = came.is_redirect or came.status_code == requests.codes.unauthorized
            if is_over:
                # The session that the cookie stands for.
                self._session.cookies.clear()
            if came.status_code == requests.codes.too_many_requests and not has_waited:
                seconds = max(seconds - self.deadline.wait_for(self.refusal(came)), 1.0)
                has_waited = True
            elif authorization is not None:
                return came
            elif came.is_redirect and had_cookie:
                continue
            elif is_over and not is_renewed and self._login.renewed(self):
                is_renewed = True
            elif came.is_redirect:
                raise self.redirection(came)
            else:
                return came

    def _tell_call(self, call: dict[str, object], came: requests.Response | ConnectionFault) -> None:
        """Write the line of the log about a call: what was asked, what came back, and how long that took."""
        if isinstance(came, ConnectionFault):
            call["fault"] = came.kind
            outcome = f"no answer ({came.kind})"
        else:
            call |= {"status": came.status_code, "bytes_received": len(came.content)}
            outcome = f"status {came.status_code}"
            if counts := _COUNTS.search(came.content):
                call |= {name.decode(): int(number) for name, number in _COUNT.findall(counts[1])}
            if str(call["path"]).startswith("/api/"):
                # What answers elsewhere is a token.
                begin = came.content[:_LOOKED_AT].decode("utf-8", "replace")
                call["answer"] = self.mask(came).text(begin, SAID_LIMIT)
        message = f"{call['method']} {call['path']}: {outcome} after {call['seconds']} s."
        self._tell(LogRecord(LogEvent.DHIS2_CALL, logging.INFO, message, call))

    # What came instead of what was asked for; also for what logs in

    def json(self, response: requests.Response) -> object:
        """Parse an answer; raise where it is a web page, or no JSON."""
        try:
            parsed = parse_json(response.content)
        except (ValueError, RecursionError):
            claims_json = "json" in response.headers.get("Content-Type", "").lower()
            fault = ConnectionFault.BEFORE_DHIS2 if self._has_answered else ConnectionFault.NOT_DHIS2
            if not is_page(response) and (claims_json or not self._has_answered):
                fault = ConnectionFault.NOT_JSON
        else:
            self._has_answered = True
            return parsed
        raise self.refusal(response, fault)

    def refusal(self, response: requests.Response, fault: ConnectionFault | None = None) -> Dhis2Error:
        """Return the error that an answer stands for; ``fault`` where the caller knows better than the status tells."""
        body = fields(response)
        fault = fault or self._login.refusal(response)
        if fault is None:
            fault = fault_of_answer(response, body, has_answered=self._has_answered)
            # Of a proxy's own statuses nothing is told by the body.
            self._has_answered |= is_of_dhis2(body) and fault in _SAID_BY_DHIS2
        retry_after = seconds_to_wait(response)
        detail = ", ".join((f"status {response.status_code}", *said(response, body, self.mask(response))))
        if retry_after is not None and fault.error.is_transient:
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
        host = there.netloc.rpartition("@")[2]
        to = self.mask(response).text(f"{there.scheme}://{host}{there.path}")
        return self.error(fault, f"status {response.status_code}, to {to}")

    def error(
        self,
        fault: ConnectionFault,
        detail: str = "",
        *,
        seconds: float | None = None,
        retry_after: float | None = None,
    ) -> Dhis2Error:
        """Return a fault in the words of the catalogue, with the server's own.

        ``seconds``: so long there was no answer, unless the time was over.
        """
        waited = CONNECT_TIMEOUT if fault is ConnectionFault.CONNECT_TIMED_OUT else seconds
        about = {"url": self._base_url, "username": self._user, "seconds": f"{waited or 0:g}"}
        problem, cure = fault.words(**about)
        message = f"{problem}{f' ({detail})' if detail else ''}. {cure}."
        error = fault.error(message, retry_after=retry_after)
        if seconds is not None and self.deadline.seconds_left() <= 0:
            error = Dhis2SlowError(self.deadline.given_up)
        error.may_still_be_applied = fault.may_still_be_applied
        if isinstance(error, Dhis2AuthenticationError):
            self.refused_login = error
        return error

    def mask(self, response: requests.Response) -> Mask:
        """Return what takes the login out of an answer, also the session's cookie, which is as good as a password."""
        cookies = [cookie.value or "" for cookie in (*self._session.cookies, *response.cookies)]
        brought = str(response.request.headers.get("Cookie", ""))
        cookies += [part.partition("=")[2] for part in brought.split("; ")]
        return Mask([*self._login.secrets, *[each for each in cookies if len(each) >= _SHORTEST_SESSION]])


_SAID_BY_DHIS2 = {ConnectionFault.FORBIDDEN, ConnectionFault.SERVER_FAULT, ConnectionFault.REFUSED_REQUEST}


def _authorized(header: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Put the header ``Authorization`` on a call: none where it is empty, whatever a ``.netrc`` holds."""
    if header:
        request.headers["Authorization"] = header
    return request
