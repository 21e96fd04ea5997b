"""How a call tells DHIS2 who asks: basic authentication, a personal access token, or OAuth2.

What servers answer to each (docs/dhis2.md, Logins) decides the words. A login that was refused is never tried
again here: several failures can lock the account.
"""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from msupply_dhis2.dhis2.answers import fields, is_page
from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind

if TYPE_CHECKING:
    from msupply_dhis2.dhis2.client import Dhis2Client

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


@dataclass(repr=False)
class Login:
    """A login whose header ``Authorization`` is always the same. ``secrets`` are what no message may show.

    A refusal that says none of the ``words`` is ``otherwise``.
    """

    header: str
    secrets: list[str]
    words: Mapping[str, ConnectionFault]
    otherwise: ConnectionFault

    def authorization(self, client: "Dhis2Client") -> str:  # noqa: ARG002 - others have to ask
        """Return the header for the next call; raise where it had to be asked for, and was not given."""
        return self.header

    def renewed(self, client: "Dhis2Client") -> bool:  # noqa: ARG002 - there is but one header
        """Get another header after this one was refused; False where there is no other."""
        return False

    def refusal(self, response: requests.Response) -> ConnectionFault | None:
        """Return why an answer is a refused login; ``None`` where it is something else."""
        challenge = response.headers.get("WWW-Authenticate", "")
        challenged = self.header.startswith("ApiToken") and challenge.startswith("ApiToken")
        if response.status_code == requests.codes.unauthorized or challenged:
            return _by_words(response, self.words) or self.otherwise
        return None


def login_of(credentials: Dhis2Credentials) -> Login:
    """Return the way in which these credentials log in."""
    password, token = _revealed(credentials.password), _revealed(credentials.token)
    match credentials.kind:
        case LoginKind.BASIC:
            encoded = _encoded(credentials.user, password)
            failed = ConnectionFault.AUTHENTICATION_FAILED
            return Login(f"Basic {encoded}", [password, encoded], _ACCOUNT_WORDS, failed)
        case LoginKind.TOKEN:
            return Login(f"ApiToken {token}", [token], _TOKEN_WORDS, ConnectionFault.TOKEN_REFUSED)
        case LoginKind.OAUTH2:
            secret = _revealed(credentials.secret)
            encoded = _encoded(credentials.client or "", secret)
            form = {"grant_type": "password", "username": credentials.user, "password": password}
            return _OAuth2Login([password, secret, encoded], f"Basic {encoded}", form)


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _encoded(user: str, password: str) -> str:
    # UTF-8, which DHIS2 reads: Latin-1, which HTTP began with, has no Khmer.
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _by_words(response: requests.Response, words: Mapping[str, ConnectionFault]) -> ConnectionFault | None:
    answer = fields(response)
    said = f"{answer.get('message', '')} {answer.get('error_description', '')}".lower()
    return next((fault for phrase, fault in words.items() if phrase in said), None)


class _OAuth2Login(Login):
    """OAuth2's password grant, which DHIS2 has up to 2.41: for the password it gives tokens as good as it, for a time."""

    def __init__(self, secrets: list[str], client_header: str, form: Mapping[str, str]) -> None:
        super().__init__("", secrets, _ACCOUNT_WORDS, ConnectionFault.OAUTH2_REFUSED)
        self._own_secrets, self._client_header, self._form = secrets, client_header, form
        self._refresh = ""
        self._ends = 0.0
        """On the clock of ``time.time``, which goes on while a function is frozen."""

    def authorization(self, client: "Dhis2Client") -> str:
        if time.time() >= self._ends:
            self.renewed(client)
        return self.header

    def renewed(self, client: "Dhis2Client") -> bool:
        """Ask for an access token: with the refresh token where there is one and it works, else with the password."""
        forms = [self._form]
        if self._refresh:
            forms.insert(0, {"grant_type": "refresh_token", "refresh_token": self._refresh})
        for form in forms:
            response = client.call("POST", _TOKEN_PATH, authorization=self._client_header, content=form)
            if _is_success(response):
                self._take(client, response)
                return True
        fault = _no_grant(response)
        is_absent = response.status_code in _ABSENT
        if fault is ConnectionFault.OAUTH2_REFUSED or (fault is None and (response.is_redirect or is_absent)):
            ping = client.call("GET", "/api/ping", authorization="")
            if _is_success(ping) and not is_page(ping):
                # From 2.42 on anybody may ask this.
                fault = ConnectionFault.OAUTH2_GONE
            elif is_absent and _asks_to_log_in(ping):
                fault = ConnectionFault.OAUTH2_OFF
            elif response.is_redirect:
                raise client.redirection(response)
        raise client.refusal(response, fault)

    def _take(self, client: "Dhis2Client", response: requests.Response) -> None:
        client.json(response)
        answer = fields(response)
        access, refresh, seconds = map(answer.get, ("access_token", "refresh_token", "expires_in"))
        # A line break or another script is in no header, and what says so shows the header.
        if not (isinstance(access, str) and access and access.isascii() and access.isprintable()):
            raise client.error(ConnectionFault.NOT_JSON, "no access token in it")
        self.header = f"Bearer {access}"
        self._refresh = refresh if isinstance(refresh, str) else ""
        self._ends = time.time() + (seconds if isinstance(seconds, int) else 0) * _SHORTER
        self.secrets = [*self._own_secrets, access, self._refresh]


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
