"""What is kept in Secrets Manager: DHIS2's credentials and the address of mSupply's database.

No message, log or representation ever holds any part of a secret's content.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from msupply_dhis2.errors import CredentialsError
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.urls import is_forbidden

_POSTGRESQL = re.compile(r"(postgres|postgresql|postgresql\+psycopg)://", re.IGNORECASE)
_POSTGRESQL_PORT = 5432
_HIGHEST_PORT = 65_535
_HOST = re.compile(r"/.*|[\w.:%,-]+")
"""The folder of a Unix socket; or names or addresses of servers."""
_ENCODE = "; encode special characters of the password, such as @ as %40, / as %2F, # as %23 and ? as %3F"
_QUERY = re.compile("sslmode=(disable|require|verify-ca|verify-full)|host=/.*")
"""Not allow and prefer, which give up encryption wherever somebody on the way says that there is none."""
_TOKEN = re.compile(r"\w+", re.ASCII)
_PARAMETERS = {"host": "DatabaseHost", "dbname": "DatabaseName"}
"""The parameters of the stack that stand in for fields of a secret that Amazon RDS makes and rotates."""


class LoginKind(StrEnum):
    """How DHIS2 is told who asks."""

    BASIC = "basic"
    OAUTH2 = "oauth2"
    TOKEN = "token"  # noqa: S105 - the name of a kind of login


_FIELDS = {
    LoginKind.BASIC: ("username", "password"),
    LoginKind.OAUTH2: ("username", "password", "client", "secret"),
    LoginKind.TOKEN: ("token",),
}
_ALL_FIELDS = ("username", "password", "client", "secret", "token")


class Dhis2Credentials(BaseModel):
    """A login to DHIS2; its kind decides which of the fields are there.

    A personal access token belongs to a user itself; an OAuth2 client has a secret or none. ``version`` is that of the
    secret in Secrets Manager, empty on one's own machine, and no secret.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    kind: LoginKind = LoginKind.BASIC
    username: str | None = None
    password: SecretStr | None = None
    client: str | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None
    version: str = ""

    @property
    def user(self) -> str:
        """Who logs in, for messages and as a key: the user name, or ``the personal access token``."""
        return self.username if self.username is not None else "the personal access token"

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change when any of the fields but ``version`` does.

        Made so slowly (PBKDF2 with SHA-256) that a password cannot be found again by trying many.
        """
        secrets = (
            secret and secret.get_secret_value() for secret in (self.password, self.secret, self.token)
        )
        return _fingerprint(self.kind, self.username, self.client, *secrets)


@lru_cache(maxsize=2)
def _fingerprint(*parts: str | None) -> str:
    return hashlib.pbkdf2_hmac("sha256", json.dumps(parts).encode(), b"msupply-dhis2", 100_000).hex()


def parse_dhis2_credentials(text: str, settings: Settings, *, version: str = "") -> Dhis2Credentials:
    """Read the secret with DHIS2's credentials.

    It is JSON: ``{"username": "…", "password": "…"}``; without basic authentication (see the settings) the same with
    ``"client"``, and ``"secret"`` where the client has one; or, either way, ``{"token": "…"}``, a personal access token.
    """
    read = _read_object(text)
    if read is None:
        is_blank = not text.strip()
        raise _no_login("is not filled in yet" if is_blank else "is not JSON with username and password")
    if unknown := len(read.keys() - set(_ALL_FIELDS)):
        raise _no_login(f"has {unknown} field(s) other than {', '.join(_ALL_FIELDS)}")
    given = _filled_in(read)
    # Client and secret may stay there, for the day on which basic authentication is switched off.
    kind = LoginKind.BASIC if settings.basic_authentication else LoginKind.OAUTH2
    if "token" in given:
        kind = LoginKind.TOKEN
        if others := [name for name in _ALL_FIELDS if name in given and name != "token"]:
            raise _no_login(
                f"has a token and also {', '.join(others)}: two logins at once. A personal access token is a login of its "
                "own: remove either the token or the other fields"
            )
    needed = [name for name in _FIELDS[kind] if name != "secret" or name in given]
    if lacking := _without_text(given, needed):
        raise _no_login(
            f"has no text in its field {' nor in its field '.join(lacking)}{_NO_CLIENT if 'client' in lacking else ''}"
        )
    # Blanks around a token come with copying; a password may have some.
    fields = {name: given[name].strip() if name == "token" else given[name] for name in needed}
    # It goes into a header as it is; of one that HTTP does not take the error would show the token.
    if kind is LoginKind.TOKEN and not _TOKEN.fullmatch(fields["token"]):
        raise _no_login(
            "has a character in its field token that no personal access token has: copy the whole token again"
        )
    return Dhis2Credentials(kind=kind, version=version, **fields)


_NO_CLIENT = (
    ", and OAuth2 needs a client: Basic authentication is off in the settings. Set basic_authentication: true, or put the "
    "client (and its secret, if it has one) of DHIS2's OAuth2 clients there as well"
)


def _filled_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _without_text(fields: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    values = {name: fields.get(name) for name in names}
    return [name for name, value in values.items() if not (isinstance(value, str) and value.strip())]


def _no_login(fault: str) -> CredentialsError:
    return CredentialsError(
        f"The secret with DHIS2's credentials {fault}. Run `make credentials` (`make credentials OAUTH2=yes` if a "
        "client is needed), which asks for them, or put "
        '{"username": "…", "password": "…"} or {"token": "…"} into it with `aws secretsmanager put-secret-value`.',
        fault,
    )


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where mSupply's database is and how to log in to it: the arguments of ``sqlalchemy.URL.create``.

    The driver is ``sqlite`` or ``postgresql+psycopg``, the host a server or the folder of a Unix socket (``None`` for
    SQLite), the database a name or a file; the query has ``sslmode``, where the address names one.
    """

    drivername: str
    database: str
    username: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> str:
        """The address for messages: neither user name nor password."""
        if self.host is None:
            # Somebody may have written another database's address so.
            return f"the SQLite file {self.database.rpartition('@')[2]}"
        port = "" if self.port is None else f", port {self.port}"
        return f"the PostgreSQL database {self.database} on {self.host}{port}"


def parse_database_address(text: str, server: Mapping[str, str] | None = None) -> DatabaseAddress:
    """Read the address of mSupply's database.

    It is ``sqlite:///path``, ``postgresql://user:password@host:port/database`` (special characters of the password
    encoded as in addresses; ``?sslmode=…`` if need be, ``?host=/folder`` for a Unix socket), or JSON as Amazon RDS keeps
    it, ``{"host": …, "port": …, "dbname": …, "username": …, "password": …}``. Where RDS makes and rotates the secret itself,
    the first three are not there: the stack's parameters, ``server``, stand in for them.
    """
    text = text.strip()
    if not text:
        raise _no_address("is not filled in yet")
    if text.startswith("{"):
        address = _from_rds(text, server or {})
    elif text.lower().startswith("sqlite:"):
        if not (path := text.partition(":///")[2]):
            raise _no_address("names no file after sqlite:///")
        return DatabaseAddress(drivername="sqlite", database=path)
    elif _POSTGRESQL.match(text):
        address = _from_postgresql_url(text)
    else:
        raise _no_address("begins with neither sqlite:///, postgresql:// nor {")
    # What messages show of the address must be no password.
    if not _HOST.fullmatch(str(address.host)):
        raise _no_address("has something other than a server's name or address for a host")
    if re.search(r"[/@]", address.database):
        raise _no_address(f"names a database with '/' or '@' in it{_ENCODE}")
    password = address.password.get_secret_value() if address.password else ""
    if "\0" in f"{address.username}{password}{address.host}{address.database}":
        # PostgreSQL's library reads what it is given up to there, and would look for another database.
        raise _no_address("has a character in it that no name or password can have (%00)")
    if any(is_forbidden(host) for host in str(address.host).split(",")):
        raise _no_address(
            "has an address of AWS or of the function itself for a host, not that of a database"
        )
    return address


def _no_address(fault: str) -> CredentialsError:
    return CredentialsError(
        f"The secret with the address of mSupply's database {fault}. It takes "
        "postgresql://user:password@host:5432/database, sqlite:///folder/file.sqlite (on one's own machine "
        'only), or the JSON of Amazon RDS: {"host": "…", "port": 5432, "dbname": "…", "username": "…", '
        '"password": "…"}. Run `make credentials`, which asks for it, or put it there with '
        "`aws secretsmanager put-secret-value`.",
        fault,
    )


def _from_postgresql_url(text: str) -> DatabaseAddress:
    # A password with an unencoded '/', '?' or '#' cuts the address in a wrong place: host, port or database
    # are then not what they should be.
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # What was read as the port may be part of the password: it must not even be the error's cause.
        parts = None
    if parts is None or parts.fragment or port == 0:
        raise _no_address(f"cannot be read{_ENCODE}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not all(_QUERY.fullmatch(f"{name}={value}") for name, value in query.items()):
        raise _no_address(
            "has something after the '?' other than host=/folder (of a Unix socket) or an sslmode, one of disable, "
            f"require, verify-ca and verify-full{_ENCODE}"
        )
    host = query.pop("host", None) or host
    database = unquote(parts.path.removeprefix("/"))
    needed = {"user name": parts.username, "host": host, "database": database}
    if lacking := [name for name, value in needed.items() if not value]:
        raise _no_address(f"names no {', no '.join(lacking)}{_ENCODE}")
    return DatabaseAddress(
        drivername="postgresql+psycopg",
        database=database,
        username=unquote(parts.username or ""),
        password=None if parts.password is None else SecretStr(unquote(parts.password)),
        host=host,
        port=port or (None if str(host).startswith("/") else _POSTGRESQL_PORT),
        query=query,
    )


def _from_rds(text: str, server: Mapping[str, str]) -> DatabaseAddress:
    read = _read_object(text)
    if read is None:
        raise _no_address("begins with { but is not JSON")
    given = {"engine": "postgres", "port": _POSTGRESQL_PORT, **_filled_in(server), **_filled_in(read)}
    if "postgres" not in str(given["engine"]).casefold():
        raise _no_address("is for another kind of database: its field engine does not say postgres")
    if lacking := _without_text(given, ("host", "dbname", "username", "password")):
        stand_ins = [_PARAMETERS[name] for name in lacking if name in _PARAMETERS]
        hint = f", nor in the stack's parameters {', '.join(stand_ins)}: make deploy GUIDED=yes asks for them"
        raise _no_address(
            f"has no text in its field {' nor in its field '.join(lacking)}{hint if stand_ins else ''}"
        )
    port = str(given["port"])
    if not re.fullmatch(r"[1-9]\d{0,4}", port, re.ASCII) or int(port) > _HIGHEST_PORT:
        raise _no_address("has a port that is not a number from 1 to 65535")
    return DatabaseAddress(
        drivername="postgresql+psycopg",
        database=given["dbname"],
        username=given["username"],
        password=SecretStr(given["password"]),
        host=given["host"],
        port=int(port),
    )


def _read_object(text: str) -> dict[str, Any] | None:
    """Read a JSON object; not to fail keeps its content out of the causes of an error."""
    try:
        value = json.loads(text)
        # Half a character, \\ud800, is JSON; but it cannot be sent, and the error would hold all around it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
