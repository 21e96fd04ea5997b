"""How a call tells DHIS2 who asks: basic authentication, a personal access token, or OAuth2.

What servers answer to each (docs/dhis2.md, Logins) decides the words. A login that was refused is never tried
again here: several failures can lock the account.
"""

import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.dhis2.transport import Transport, fields, is_page
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind

_TOKEN_PATH = "/uaa/oauth/token"  # noqa: S105 - an address
_ABSENT = {404, 405}
_SHORTER = 0.95
"""Access tokens are renewed when this much of their time is over, so that none ends on the way."""

_ACCOUNT_WORDS = {"disabled": ConnectionFault.ACCOUNT_DISABLED, "locked": ConnectionFault.ACCOUNT_LOCKED}
_TOKEN_WORDS = {
    "checksum": ConnectionFault.TOKEN_MISTYPED,
    "expired": ConnectionFault.TOKEN_EXPIRED,
    "method": ConnectionFault.TOKEN_METHOD,
    "ip address": ConnectionFault.TOKEN_ADDRESS,
    "not exist": ConnectionFault.TOKEN_UNKNOWN,
    "disabled": ConnectionFault.TOKEN_USER,
}
"""What DHIS2 says of a personal access token that it refuses, in this order."""


class Login(ABC):
    """One of the three ways; a login with a header of its own need not ask DHIS2 for it."""

    first_asks_who_it_is = False
    """Whether the first call of a session has to be a question: on 2.43.0 a token may fail with its first use."""

    header = ""

    def authorization(self, transport: Transport) -> str:  # noqa: ARG002 - others have to ask
        """Return the header ``Authorization`` for the next call; raise where it had to be asked for, and was not given."""
        return self.header

    def renewed(self, transport: Transport) -> bool:  # noqa: ARG002 - there is but one header
        """Get another header after this one was refused; False where there is no other."""
        return False

    @abstractmethod
    def refusal(self, response: requests.Response) -> ConnectionFault | None:
        """Return why an answer is a refused login; ``None`` where it is something else."""

    @abstractmethod
    def secrets(self) -> Iterator[str]:
        """Return what no message may show."""


def login_of(credentials: Dhis2Credentials) -> Login:
    """Return the way in which these credentials log in."""
    match credentials.kind:
        case LoginKind.BASIC:
            return _BasicLogin(credentials)
        case LoginKind.TOKEN:
            return _TokenLogin(credentials)
        case LoginKind.OAUTH2:
            return _OAuth2Login(credentials)


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _basic(user: str, password: str) -> str:
    # UTF-8, which DHIS2 reads: Latin-1, which HTTP began with, has no Khmer.
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _by_words(response: requests.Response, words: Mapping[str, ConnectionFault]) -> ConnectionFault | None:
    answer = fields(response)
    said = f"{answer.get('message', '')} {answer.get('error_description', '')}".lower()
    return next((fault for phrase, fault in words.items() if phrase in said), None)


class _BasicLogin(Login):
    def __init__(self, credentials: Dhis2Credentials) -> None:
        self._password = _revealed(credentials.password)
        self.header = _basic(credentials.user, self._password)

    def refusal(self, response: requests.Response) -> ConnectionFault | None:
        if response.status_code != requests.codes.unauthorized:
            return None
        return _by_words(response, _ACCOUNT_WORDS) or ConnectionFault.AUTHENTICATION

    def secrets(self) -> Iterator[str]:
        yield self._password
        yield self.header.removeprefix("Basic ")


class _TokenLogin(Login):
    first_asks_who_it_is = True

    def __init__(self, credentials: Dhis2Credentials) -> None:
        self._token = _revealed(credentials.token)
        self.header = f"ApiToken {self._token}"

    def refusal(self, response: requests.Response) -> ConnectionFault | None:
        challenged = response.headers.get("WWW-Authenticate", "").startswith("ApiToken")
        if response.status_code == requests.codes.unauthorized or challenged:
            return _by_words(response, _TOKEN_WORDS) or ConnectionFault.TOKEN_REFUSED
        return None

    def secrets(self) -> Iterator[str]:
        yield self._token


@dataclass(frozen=True, slots=True)
class _Grant:
    """What DHIS2 gave for the password: tokens as good as it, for a time."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    ends: float
    """On the clock of ``time.time``, which goes on while a function is frozen."""


class _OAuth2Login(Login):
    """OAuth2's password grant, which DHIS2 has up to 2.41."""

    def __init__(self, credentials: Dhis2Credentials) -> None:
        self._credentials = credentials
        self._client = _basic(credentials.client or "", _revealed(credentials.secret))
        self._grant: _Grant | None = None

    def authorization(self, transport: Transport) -> str:
        if self._grant is None or time.time() >= self._grant.ends:
            self._grant = self._ask(transport)
        return f"Bearer {self._grant.access}"

    def renewed(self, transport: Transport) -> bool:
        self._grant = self._ask(transport)
        return True

    def refusal(self, response: requests.Response) -> ConnectionFault | None:
        if response.status_code != requests.codes.unauthorized:
            return None
        return _by_words(response, _ACCOUNT_WORDS) or ConnectionFault.OAUTH2_REFUSED

    def secrets(self) -> Iterator[str]:
        yield _revealed(self._credentials.password)
        yield _revealed(self._credentials.secret)
        yield self._client.removeprefix("Basic ")
        if grant := self._grant:
            yield grant.access
            yield grant.refresh or ""

    def _ask(self, transport: Transport) -> _Grant:
        """Ask for an access token: with the refresh token where there is one and it works, else with the password."""
        password = _revealed(self._credentials.password)
        forms = [{"grant_type": "password", "username": self._credentials.user, "password": password}]
        if self._grant and self._grant.refresh:
            forms.insert(0, {"grant_type": "refresh_token", "refresh_token": self._grant.refresh})
        for form in forms:
            response = transport.send("POST", _TOKEN_PATH, self._client, content=form)
            if _is_success(response):
                return _granted(transport, response)
        fault = _no_grant(response)
        is_absent = response.status_code in _ABSENT
        if fault is ConnectionFault.OAUTH2_REFUSED or (fault is None and (response.is_redirect or is_absent)):
            ping = transport.send("GET", "/api/ping", "")
            if _is_success(ping) and not is_page(ping):
                # From 2.42 on anybody may ask this.
                fault = ConnectionFault.OAUTH2_GONE
            elif is_absent and _asks_to_log_in(ping):
                fault = ConnectionFault.OAUTH2_OFF
            elif response.is_redirect:
                raise transport.redirection(response)
        raise transport.refusal(response, fault)


def _granted(transport: Transport, response: requests.Response) -> _Grant:
    transport.json(response)
    answer = fields(response)
    access, refresh, seconds = (answer.get(name) for name in ("access_token", "refresh_token", "expires_in"))
    if not isinstance(access, str) or not access:
        raise transport.error(ConnectionFault.NOT_JSON, "no access token in it")
    lasts = seconds if isinstance(seconds, int) else 0
    return _Grant(access, refresh if isinstance(refresh, str) else None, time.time() + lasts * _SHORTER)


def _no_grant(response: requests.Response) -> ConnectionFault | None:
    """Return why no access token was given; ``None`` where the status alone tells."""
    answer = fields(response)
    match response.status_code, answer.get("error"):
        case 400, "invalid_grant":
            return _by_words(response, _ACCOUNT_WORDS) or ConnectionFault.OAUTH2_USER
        case ((400 | 401), "invalid_client" | "unauthorized_client" | "unsupported_grant_type"):
            return ConnectionFault.OAUTH2_GRANT_TYPE
        case 401, _ if "httpStatus" in answer:
            # DHIS2 itself answers, not the part of it that hands out tokens: from 2.42 there is none.
            return ConnectionFault.OAUTH2_REFUSED
        case 401, _:
            return ConnectionFault.OAUTH2_SECRET
        case 500, _ if b"Invalid client_id" in response.content:
            return ConnectionFault.OAUTH2_CLIENT
    return None


def _asks_to_log_in(response: requests.Response) -> bool:
    """Return whether DHIS2 itself answers a call without a login: a 401 with its words, or a redirect to its login page."""
    if response.is_redirect:
        return "login" in urlsplit(response.headers["Location"]).path
    return response.status_code == requests.codes.unauthorized and "httpStatus" in fields(response)


def _is_success(response: requests.Response) -> bool:
    return response.ok and not response.is_redirect
