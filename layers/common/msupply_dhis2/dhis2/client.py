"""Calls to DHIS2's Web API over one session, with every failure told in words.

No redirect is ever followed (without a login DHIS2 redirects to a page with status 200, and http to https
turns a POST into a GET), only JSON is taken for an answer, and every call has its time-outs. Nothing is tried
again here: the queue does that for pushes, and a connection test shall report what is.
"""

import base64
import errno
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3.exceptions
from pydantic import SecretStr
from requests.auth import HTTPBasicAuth

from msupply_dhis2 import __version__
from msupply_dhis2.credentials import Dhis2Credentials
from msupply_dhis2.dhis2.error_catalogue import CONNECTION_WORDS, ConnectionFault
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2TransientError

CONNECT_TIMEOUT = 5.0
"""Seconds: a firewall that drops packets is not worth a longer wait."""

READ_TIMEOUT = 65.0
"""Seconds: a little more than the 60 for which a proxy before DHIS2 waits by default, so that it speaks first."""

_MESSAGE_LIMIT = 300
_EXPIRED = 10
_SELF_SIGNED = {18, 19}
_OTHER_NAME = {62, 64}
"""OpenSSL's verification results X509_V_ERR_…: HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH."""

_CONFLICT = 409

_FAULT_BY_STATUS = {
    403: ConnectionFault.FORBIDDEN,
    404: ConnectionFault.NOT_FOUND,
    405: ConnectionFault.NOT_FOUND,
    413: ConnectionFault.TOO_LARGE,
    429: ConnectionFault.TOO_MANY,
    502: ConnectionFault.NOT_AVAILABLE,
    503: ConnectionFault.NOT_AVAILABLE,
    504: ConnectionFault.GATEWAY_TIMED_OUT,
}

_AUTHENTICATION = {
    ConnectionFault.AUTHENTICATION,
    ConnectionFault.ACCOUNT_DISABLED,
    ConnectionFault.ACCOUNT_LOCKED,
}

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}

_FAULT_BY_KIND: tuple[tuple[tuple[type[BaseException], ...], ConnectionFault], ...] = (
    # In this order: what is said of a cause deep inside is truer than what is said of its wrapping.
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


@dataclass(frozen=True, slots=True)
class Answer:
    """DHIS2's answer to a push.

    Attributes
    ----------
    status
        The HTTP status: 409 may be partial success.
    headers
        The headers of the answer, but for the session's cookie.
    body
        The body, parsed from JSON.
    seconds
        How long the call took.
    bytes_sent
        How long what was sent was, compressed where it was.
    """

    status: int
    headers: Mapping[str, str]
    body: object
    seconds: float = 0.0
    bytes_sent: int = 0


class Dhis2Client:
    """A session with one DHIS2 server for one user.

    The session's cookie is kept and sent along with the basic login: checking the password costs the server
    about 100 ms a call, the cookie 6 ms. Where a redirect appears the session has come to its end: the cookie
    is dropped and the call made once more with the login alone.

    Parameters
    ----------
    base_url
        The address of DHIS2, up to, without, ``/api``.
    credentials
        The user's name and password.
    connect_timeout, read_timeout
        Seconds.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Dhis2Credentials,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._session = requests.Session()
        # As bytes: requests would write text as Latin-1, which has no Khmer, and DHIS2 reads UTF-8.
        self._session.auth = HTTPBasicAuth(
            credentials.user.encode(), _revealed(credentials.password).encode()
        )
        self._session.headers.update(
            {
                "Accept": "application/json",
                # With this header a refused login is a 401 in JSON rather than a redirect to a login page.
                "X-Requested-With": "XMLHttpRequest",
                "User-Agent": f"msupply-dhis2/{__version__}",
            }
        )

    def __repr__(self) -> str:
        return f"Dhis2Client({self._shown_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session's connections."""
        self._session.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """Read something.

        Parameters
        ----------
        path
            Below the address of DHIS2, such as ``/api/me``.
        params
            The query.

        Returns
        -------
        object
            The answer, parsed from JSON.

        Raises
        ------
        Dhis2AuthenticationError
            The login was refused.
        Dhis2TransientError
            It may work later.
        Dhis2Error
            It will not work until somebody changes something.
        """
        response = self._call("GET", path, params, None)
        if not response.ok:
            raise self._refusal(response)
        return self._json(response)

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post data values.

        Parameters
        ----------
        body
            ``{"dataSet": …, "dataValues": […]}``.
        params
            The query: the ID schemes and the strict flags.
        read_timeout
            Seconds, where it is another than the client's own.

        Returns
        -------
        Answer
            For ``read_answer``: statuses 200 to 299, and 409, which may be partial success.

        Raises
        ------
        Dhis2AuthenticationError
            The login was refused.
        Dhis2TransientError
            The same may be sent again later; some values may be stored already.
        Dhis2Error
            Nothing was stored, and nothing will be until somebody changes something.
        """
        content = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
        started = time.perf_counter()
        response = self._call("POST", "/api/dataValueSets", params, content, read_timeout)
        seconds = time.perf_counter() - started
        if not response.ok and response.status_code != _CONFLICT:
            raise self._refusal(response)
        # The session's cookie is as good as a password for a while, and an answer may be logged.
        headers = {name: value for name, value in response.headers.items() if name.lower() != "set-cookie"}
        return Answer(response.status_code, headers, self._json(response), seconds, len(content))

    @property
    def _shown_url(self) -> str:
        """The address without a user name and password, should somebody have put them there."""
        scheme, separator, rest = self._base_url.partition("://")
        authority, slash, path = rest.partition("/")
        return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"

    def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        with_cookie = bool(self._session.cookies)
        response = self._call_once(method, path, params, content, read_timeout)
        if response.is_redirect:
            self._session.cookies.clear()
            if with_cookie:
                response = self._call_once(method, path, params, content, read_timeout)
        if response.is_redirect:
            raise self._redirection(response)
        return response

    def _call_once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        read_timeout: float | None = None,
    ) -> requests.Response:
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            return self._session.request(
                method,
                self._base_url + path,
                params=params,
                data=content,
                headers=headers,
                timeout=(self._connect_timeout, read_timeout or self._read_timeout),
                allow_redirects=False,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            # A ValueError: requests looks where a redirect leads even if it does not follow it.
            fault = _fault(error)
        # Outside the except clause, so that the error has no context: a request of requests holds the login.
        raise self._error(fault)

    def _json(self, response: requests.Response) -> object:
        """Parse an answer.

        Raises
        ------
        Dhis2Error
            It is a web page, or no JSON.
        """
        try:
            parsed: object = json.loads(response.content)
        except (ValueError, RecursionError):
            fault = ConnectionFault.NOT_DHIS2 if _is_page(response) else ConnectionFault.NOT_JSON
        else:
            return parsed
        raise self._error(fault)

    def _refusal(self, response: requests.Response) -> Dhis2Error:
        """Turn an answer that is no success into the error that it stands for."""
        status = response.status_code
        said = self._said(response)
        if status == requests.codes.unauthorized:
            self._session.cookies.clear()
            lower = said.lower()
            fault = ConnectionFault.AUTHENTICATION
            if "disabled" in lower:
                fault = ConnectionFault.ACCOUNT_DISABLED
            elif "locked" in lower:
                fault = ConnectionFault.ACCOUNT_LOCKED
        elif status in {404, 405} and "httpStatus" in _fields(response):
            # DHIS2's own "not found": it is there, but not what was asked for.
            fault = ConnectionFault.REFUSED_REQUEST
        elif status in _FAULT_BY_STATUS:
            fault = _FAULT_BY_STATUS[status]
        elif status >= requests.codes.internal_server_error:
            fault = ConnectionFault.SERVER_FAULT
        else:
            fault = ConnectionFault.NOT_DHIS2 if _is_page(response) else ConnectionFault.REFUSED_REQUEST
        retry_after = response.headers.get("Retry-After")
        detail = f"status {status}"
        if said:
            detail += f', "{said}"'
        if retry_after and CONNECTION_WORDS[fault].transient:
            detail += f", Retry-After: {retry_after[:_MESSAGE_LIMIT]}"
        return self._error(fault, detail)

    def _redirection(self, response: requests.Response) -> Dhis2Error:
        """Say where a redirect leads, and what that means."""
        here = urlsplit(self._base_url)
        there = urlsplit(urljoin(response.url, response.headers["Location"]))
        same_server = here.hostname == there.hostname
        if here.scheme == "http" and there.scheme == "https" and same_server:
            fault = ConnectionFault.REDIRECT_TO_HTTPS
        elif "login" in there.path:
            fault = ConnectionFault.REDIRECT_TO_LOGIN
        else:
            fault = ConnectionFault.REDIRECT
        return self._error(fault, f"status {response.status_code}, to {_shown(there)}")

    def _error(self, fault: ConnectionFault, detail: str = "") -> Dhis2Error:
        """Put a fault into the words of the catalogue, and into the class that says whether to try again."""
        words = CONNECTION_WORDS[fault]
        seconds = self._connect_timeout if fault is ConnectionFault.CONNECT_TIMED_OUT else self._read_timeout
        problem = words.problem.format(
            url=self._shown_url, username=self._credentials.user, seconds=f"{seconds:g}"
        )
        message = f"{problem}{f' ({detail})' if detail else ''}. {words.cure}."
        if fault in _AUTHENTICATION:
            return Dhis2AuthenticationError(message)
        return Dhis2TransientError(message) if words.transient else Dhis2Error(message)

    def _said(self, response: requests.Response) -> str:
        """Give the server's own message on one line, without anything secret that a proxy may echo."""
        message = _fields(response).get("message")
        if not isinstance(message, str):
            return ""
        password = _revealed(self._credentials.password)
        login = base64.b64encode(f"{self._credentials.user}:{password}".encode()).decode()
        for secret in filter(None, (password, login)):
            message = message.replace(secret, "***")
        line = " ".join(message.split())
        return "".join(character for character in line if character.isprintable())[:_MESSAGE_LIMIT]


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _fields(response: requests.Response) -> Mapping[str, object]:
    """Give the fields of a JSON object, or none where the answer is something else."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _shown(address: SplitResult) -> str:
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _is_page(response: requests.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"


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
    """Say what an error of requests is about."""
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
