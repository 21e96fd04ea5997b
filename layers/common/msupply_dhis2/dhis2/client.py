"""Calls to DHIS2's Web API over one session: logged in, and compressed where the server takes it.

Nothing is tried again here, but for what costs nothing and harms nobody: with another access token, without a
cookie that has come to its end, without compression.
"""

import gzip
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self

import requests

from msupply_dhis2.dhis2.auth import login_of
from msupply_dhis2.dhis2.parsing import Query, ReadsDhis2
from msupply_dhis2.dhis2.transport import Transport
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.errors import Dhis2Error
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


class PostsDataValues(Protocol):
    """What sending needs of a DHIS2 client."""

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post a data value set and return the server's answer."""


class TalksToDhis2(ReadsDhis2, PostsDataValues, Protocol):
    """What push and the connection test need of a DHIS2 client."""


class Dhis2Client:
    """A session with one DHIS2 server for one user. For one thread at a time.

    The session's cookie is kept and sent along with the login: checking a password costs the server about
    100 ms a call, the cookie 6 ms. Where a redirect appears the session has come to its end: the cookie is
    dropped and the call made once more with the login alone. ``base_url`` is the address up to, without, ``/api``.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Dhis2Credentials,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        ca_certificate: str | None = None,
        allow_plain_http: bool = False,
        tell: Callable[[LogRecord], None] | None = None,
    ) -> None:
        self._login = login_of(credentials)
        self._transport = Transport(
            base_url,
            user=credentials.user,
            secrets=self._login.secrets,
            timeouts=(connect_timeout, read_timeout),
            ca_certificate=ca_certificate,
            allow_plain_http=allow_plain_http,
            tell=tell,
        )
        self._has_asked = False
        self.compresses = True
        """Whether long bodies are sent compressed: not from when the server, or what stands before it, refused one."""
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
        tell: Callable[[LogRecord], None] | None = None,
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
        return f"Dhis2Client({self._transport.shown_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session's connections."""
        self._transport.close()

    def get(self, path: str, params: Query | None = None) -> object:
        """Read what stands below the address of DHIS2, such as ``/api/me``, parsed from JSON."""
        response = self._call("GET", path, params)
        if not response.ok:
            raise self._refusal(response)
        self._has_asked = True
        return self._transport.json(response)

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post data values (``import_request``), and wait for so many seconds, where not for as long as the client does.

        Statuses 200 to 299, and 409, are an answer for ``read_import_summary``. After a transient error some values may be
        stored already.
        """
        if self._login.first_asks_who_it_is and not self._has_asked:
            self.get("/api/me", {"fields": "id"})
        content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
        send = partial(self._call, "POST", "/api/dataValueSets", params, read_timeout=read_timeout)
        started = time.perf_counter()
        compressed = self.compresses and not self._next_plain and len(content) >= _COMPRESSED_FROM
        if compressed:
            response = send(gzip.compress(content, _COMPRESSION, mtime=0), _GZIP)
            if response.status_code in _NOT_UNDERSTOOD:
                started = time.perf_counter()
                response = send(content, _PLAIN)
                # Where the same goes wrong plain too, compression was not to blame.
                self.compresses = response.status_code in _NOT_UNDERSTOOD
        else:
            response = send(content, _PLAIN)
        seconds = time.perf_counter() - started
        self._learn(response, compressed=compressed)
        if not _has_outcome(response):
            raise self._refusal(response)
        return Answer(
            response.status_code, self._transport.json(response), seconds, self._transport.mask(response)
        )

    def _learn(self, response: requests.Response, *, compressed: bool) -> None:
        """Send the next body plain after one that may have been damaged, and all where that helped twice in a row.

        It is not this client that sends it again: some of it may be stored, and whoever sent it knows whether
        it may be sent twice.
        """
        may_be_damaged = _may_be_damaged(response)
        if compressed:
            self._damaged = self._damaged + 1 if may_be_damaged else 0
        elif may_be_damaged:
            self._damaged = 0
        self._next_plain = compressed and may_be_damaged
        self.compresses = self.compresses and self._damaged < _ENOUGH_TO_GIVE_UP

    def _call(
        self,
        method: str,
        path: str,
        params: Query | None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        send = partial(
            self._transport.send,
            method,
            path,
            params=params,
            content=content,
            headers=headers,
            read_timeout=read_timeout,
        )
        with_cookie = self._transport.has_cookie
        authorization = self._login.authorization(self._transport)
        response = send(authorization)
        if response.is_redirect and with_cookie:
            response = send(authorization)
        is_refused = response.is_redirect or response.status_code == requests.codes.unauthorized
        if is_refused and self._login.renewed(self._transport):
            response = send(self._login.authorization(self._transport))
        if response.is_redirect:
            raise self._transport.redirection(response)
        return response

    def _refusal(self, response: requests.Response) -> Dhis2Error:
        return self._transport.refusal(response, self._login.refusal(response))


def _may_be_damaged(response: requests.Response) -> bool:
    """Return whether the body may have been damaged on the way, or anything else may have gone wrong with it.

    Up to 2.42 the import breaks off, from 2.43 DHIS2 fails.
    """
    return response.status_code == requests.codes.internal_server_error or (
        _has_outcome(response) and _BROKE_OFF in response.content
    )


def _has_outcome(response: requests.Response) -> bool:
    """Return whether the body says what became of the values."""
    return response.ok or response.status_code == requests.codes.conflict
