"""Who calls: passwords, sessions, personal access tokens and OAuth2, and what wrong ones are answered with."""

import base64
import binascii
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from pydantic import Field, SecretStr

from sandbox.dhis2.answers import Answer, container_error, json_answer, message, unauthorized
from sandbox.dhis2.call import Call
from sandbox.dhis2.metadata import Model, User
from sandbox.dhis2.versions import Version

SESSION_COOKIE = "JSESSIONID"
OAUTH2_ADDRESS = "/uaa/oauth/token"
"""Where servers up to 2.41 hand out OAuth2's access tokens, below the context path."""

LOCKED_FOR = timedelta(minutes=15)

_TOKEN_PREFIX = "d2pat_"  # noqa: S105 - how every token begins
_TOKEN_RANDOM = 32
_TOKEN_CHECKSUM = 10


def new_token(seed: str) -> str:
    """Make the text of a personal access token: always the same for the same seed, with a right checksum.

    32 letters and digits follow ``d2pat_``, then their CRC-32 in ten decimal digits.
    """
    code = (
        base64.b32encode(seed.encode()).decode().replace("=", "x").ljust(_TOKEN_RANDOM, "x")[:_TOKEN_RANDOM]
    )
    return f"{_TOKEN_PREFIX}{code}{zlib.crc32(code.encode()):0{_TOKEN_CHECKSUM}}"


def has_right_checksum(token: str) -> bool:
    """Whether the text is a token without a typing error."""
    code = token.removeprefix(_TOKEN_PREFIX)[:_TOKEN_RANDOM]
    return token == f"{_TOKEN_PREFIX}{code}{zlib.crc32(code.encode()):0{_TOKEN_CHECKSUM}}"


class PersonalAccessToken(Model):
    """A personal access token; its user has whatever the token has.

    Attributes
    ----------
    username
        Whose token it is.
    token
        What is sent behind ``ApiToken``; see ``new_token``.
    expires
        When it stops to work, in UTC; ``None`` never.
    methods, addresses
        The HTTP methods and IP addresses that it may be used with; ``None`` is any.
    first_use_fails
        Whether the very first call with it, of whatever kind, is answered with a 500, as on 2.43.0.
    """

    username: str
    token: SecretStr
    expires: datetime | None = None
    methods: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    first_use_fails: bool = False


class OAuth2Client(Model):
    """An OAuth2 client, up to 2.41; ``seconds`` is how long its access tokens work."""

    client: str
    secret: SecretStr = SecretStr("")
    grant_types: tuple[str, ...] = ("password", "refresh_token")
    seconds: int = Field(default=43200, gt=0)


@dataclass(slots=True)
class _Grant:
    """The tokens of one user and client."""

    client: str
    username: str
    access_token: str
    refresh_token: str
    ends: float
    """On the clock of ``time.monotonic``."""


@dataclass(slots=True)
class Logins:
    """Everyone who can log in, and who is.

    ``StandIn`` says what its parts are; ``clock`` is the server's.
    """

    version: Version
    users: dict[str, User]
    tokens: dict[str, PersonalAccessToken]
    clients: dict[str, OAuth2Client]
    lock_after_failures: int | None
    clock: Callable[[], datetime]
    oauth2_is_on: bool = True
    """Up to 2.41: ``oauth2.authorization.server.enabled`` in ``dhis.conf``."""
    sessions: dict[str, str] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    _in_a_row: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _grants: list[_Grant] = field(default_factory=list)
    _used_tokens: dict[str, str] = field(default_factory=dict)
    """Whose token each was that has been used since the last restart."""
    _tried_tokens: set[str] = field(default_factory=set)

    # What the stand-in's owner can do

    def restart(self) -> None:
        """Lose what a restart loses: sessions, and which tokens were used already."""
        self.sessions.clear()
        self._used_tokens.clear()

    def expire_access_tokens(self) -> None:
        """Let every OAuth2 access token end now; refresh tokens go on working."""
        for grant in self._grants:
            grant.ends = time.monotonic()

    def change_all(self) -> None:
        """Return every user and client another password, and delete all tokens and sessions."""
        for username, user in self.users.items():
            self.users[username] = user.model_copy(update={"password": SecretStr(secrets.token_hex())})
        for name, client in self.clients.items():
            self.clients[name] = client.model_copy(update={"secret": SecretStr(secrets.token_hex())})
        self.tokens.clear()
        self._grants.clear()
        self.restart()

    def is_locked(self, username: str) -> bool:
        """Whether the account is locked just now because of wrong passwords."""
        count, last = self._in_a_row.get(username, (0, self.clock()))
        return (
            self.lock_after_failures is not None
            and count >= self.lock_after_failures
            and self.clock() - last < LOCKED_FOR
        )

    # Who calls

    def user_of(self, call: Call) -> User | Answer | None:
        """Return who calls; the answer where the credentials are wrong; ``None`` where there are none.

        With a session the password is not looked at again, as long as the name is the session's.
        """
        session_user = self.sessions.get(session_of(call.headers))
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "basic":
                return self._user_of_password(credentials, session_user)
            case "apitoken" if self.version.has_tokens:
                return self._user_of_token(credentials.strip(), call)
            case "bearer" if self.version.has_password_grant:
                return self._user_of_access_token(credentials.strip())
        return self.users.get(session_user) if session_user is not None else None

    def with_session(self, call: Call, user: User) -> str | None:
        """Open a session where the call brought a password and none was open; return what to put in the cookie."""
        by_password = call.headers.get("authorization", "").lower().startswith("basic ")
        if not by_password or self.sessions.get(session_of(call.headers)) == user.username:
            return None
        session = secrets.token_hex(16)
        self.sessions[session] = user.username
        return session

    def _user_of_password(self, encoded: str, session_user: str | None) -> User | Answer:
        login = _decoded(encoded)
        if login is None:
            return unauthorized()
        username, password = login
        if username != session_user:
            if self.is_locked(username):
                return unauthorized("Account locked")
            if not self._is_right(username, password):
                return unauthorized()
        user = self.users[username]
        if user.disabled:
            return unauthorized("Account disabled")
        return unauthorized() if self._has_expired(user) else user

    def _is_right(self, username: str, password: str) -> bool:
        """Compare a password, and count where it is wrong."""
        user = self.users.get(username)
        if user is not None and _same(password, user.password):
            self._in_a_row.pop(username, None)
            return True
        self.failed[username] += 1
        count, last = self._in_a_row.get(username, (0, self.clock()))
        goes_on = self.clock() - last < LOCKED_FOR
        self._in_a_row[username] = (count * goes_on + 1, self.clock())
        return False

    def _has_expired(self, user: User) -> bool:
        return user.account_expires is not None and user.account_expires <= self.clock().date()

    # Personal access tokens

    def _user_of_token(self, text: str, call: Call) -> User | Answer:
        token = self.tokens.get(text)
        if token is None:
            remembers_deleted = not self.version.is_at_least(Version.V2_41)
            deleted = self.users.get(self._used_tokens.get(text, "")) if remembers_deleted else None
            return deleted or self._unknown_token(text)
        if token.first_use_fails and text not in self._tried_tokens:
            self._tried_tokens.add(text)
            return message(500, "could not initialize proxy - no Session")
        user = self.users.get(token.username)
        if user is None:
            return self._unknown_token(text)
        fault = self._fault_of_token(token, call)
        # Looked at with the first use only: that a user was disabled later is not noticed.
        if fault is None and text not in self._used_tokens and (user.disabled or self._has_expired(user)):
            fault = "The API token is disabled, locked or 2FA is enabled."
        if fault is not None:
            return _token_refused(fault)
        self._used_tokens[text] = token.username
        return user

    def _fault_of_token(self, token: PersonalAccessToken, call: Call) -> str | None:
        if token.expires is not None and token.expires <= self.clock():
            return "Failed to authenticate API token, token has expired."
        if token.methods is not None and call.method not in token.methods:
            return "Failed to authenticate API token, request http method is not allowed."
        if token.addresses is not None and call.address not in token.addresses:
            return "Failed to authenticate API token, request ip address is not allowed."
        return None

    def _unknown_token(self, text: str) -> Answer:
        if not self.version.is_at_least(Version.V2_41):
            return _token_refused("The API token does not exists.")
        if not has_right_checksum(text):
            return _token_refused("Checksum validation failed", 400)
        return _token_refused("The API token does not exists")

    # OAuth2

    def _user_of_access_token(self, text: str) -> User | Answer:
        grant = next((grant for grant in self._grants if grant.access_token == text), None)
        if grant is not None and grant.ends <= time.monotonic():
            return _invalid_access_token(f"Access token expired: {text}")
        user = self.users.get(grant.username) if grant is not None else None
        return user or _invalid_access_token("Invalid access token")

    def hand_out_access_token(self, call: Call) -> Answer:
        """Answer a call to ``OAUTH2_ADDRESS``."""
        scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
        login = _decoded(encoded) if scheme.lower() == "basic" else None
        refused = container_error(401, "Unauthorized", call.path, dispatched=True).with_headers(
            {"WWW-Authenticate": 'Basic realm="oauth2/client"'}
        )
        if login is None:
            return refused
        client = self.clients.get(login[0])
        if client is None:
            cause = (
                "org.springframework.security.oauth2.provider.ClientRegistrationException: Invalid client_id"
            )
            return container_error(500, cause, call.path, dispatched=True, cause=cause)
        if not _same(login[1], client.secret):
            return refused
        if call.method != "POST":
            return _oauth2_error(405, "method_not_allowed", f"Request method '{call.method}' not supported")
        is_form = "x-www-form-urlencoded" in call.headers.get("content-type", "")
        form = parse_qs(call.body.decode(errors="replace"), keep_blank_values=True) if is_form else {}
        return self._grant(client, {name: values[0] for name, values in form.items()})

    def _grant(self, client: OAuth2Client, form: Mapping[str, str]) -> Answer:
        grant_type = form.get("grant_type")
        if grant_type is None:
            return _oauth2_error(400, "invalid_request", "Missing grant type")
        if grant_type not in client.grant_types:
            text = "Unauthorized grant type"
            challenge = f'Bearer error="invalid_client", error_description="{text}"'
            return _oauth2_error(401, "invalid_client", text).with_headers({"WWW-Authenticate": challenge})
        if grant_type == "refresh_token":
            return self._refreshed(client, form.get("refresh_token", ""))
        fault = self._fault_of_password(form.get("username", ""), form.get("password", ""))
        if fault is not None:
            return _oauth2_error(400, "invalid_grant", fault)
        return self._granted(client, form["username"])

    def _fault_of_password(self, username: str, password: str) -> str | None:
        if self.is_locked(username):
            return "User account is locked"
        if not self._is_right(username, password):
            return "Bad credentials"
        user = self.users[username]
        return "User is disabled" if user.disabled or self._has_expired(user) else None

    def _granted(self, client: OAuth2Client, username: str) -> Answer:
        """Hand out the access token of the user and client: the one there is, as long as it works."""
        now = time.monotonic()
        for grant in self._grants:
            if (grant.client, grant.username) == (client.client, username):
                if grant.ends <= now:
                    grant.access_token, grant.ends = secrets.token_hex(16), now + client.seconds
                return _access_token(grant, client)
        grant = _Grant(
            client.client, username, secrets.token_hex(16), secrets.token_hex(16), now + client.seconds
        )
        self._grants.append(grant)
        return _access_token(grant, client)

    def _refreshed(self, client: OAuth2Client, refresh_token: str) -> Answer:
        """Hand out another access token; the one before it stops to work."""
        for grant in self._grants:
            if (grant.client, grant.refresh_token) == (client.client, refresh_token):
                grant.access_token = secrets.token_hex(16)
                grant.ends = time.monotonic() + client.seconds
                return _access_token(grant, client)
        return _oauth2_error(400, "invalid_grant", "Invalid refresh token")


def by_token(tokens: Iterable[PersonalAccessToken]) -> dict[str, PersonalAccessToken]:
    """Return the tokens by what is sent."""
    return {token.token.get_secret_value(): token for token in tokens}


def session_of(headers: Mapping[str, str]) -> str:
    """Return the session that a call names; an empty text where it names none."""
    morsel = SimpleCookie(headers.get("cookie", "")).get(SESSION_COOKIE)
    return morsel.value if morsel is not None else ""


def _decoded(encoded: str) -> tuple[str, str] | None:
    """Return name and password of basic authentication."""
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, password


def _same(text: str, secret: SecretStr) -> bool:
    return secrets.compare_digest(text.encode(), secret.get_secret_value().encode())


def _token_refused(text: str, status: int = 401) -> Answer:
    return message(status, text).with_headers({"WWW-Authenticate": "ApiToken"})


def _invalid_access_token(text: str) -> Answer:
    challenge = f'Bearer realm="oauth", error="invalid_token", error_description="{text}"'
    return _oauth2_error(401, "invalid_token", text).with_headers({"WWW-Authenticate": challenge})


def _oauth2_error(status: int, error: str, text: str) -> Answer:
    return json_answer({"error": error, "error_description": text}, status)


def _access_token(grant: _Grant, client: OAuth2Client) -> Answer:
    left = max(int(grant.ends - time.monotonic()), 0)
    return json_answer(
        {
            "access_token": grant.access_token,
            "token_type": "bearer",
            "refresh_token": grant.refresh_token,
            "expires_in": min(left, client.seconds - 1),
            "scope": "ALL",
        }
    )
