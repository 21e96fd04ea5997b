"""What is kept in Secrets Manager: DHIS2's credentials and the address of mSupply's database.

No message, log or representation ever holds any part of a secret's content.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from msupply_dhis2.errors import CredentialsError, SettingsError
from msupply_dhis2.settings import OAUTH2_COMES_LATER, Settings

_FIELDS = ("username", "password", "client", "secret")
_POSTGRESQL = re.compile(r"(postgres|postgresql|postgresql\+psycopg)://", re.IGNORECASE)
_POSTGRESQL_PORT = 5432
_HIGHEST_PORT = 65_535
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class Dhis2Credentials(BaseModel):
    """A user of DHIS2. Client and secret are for OAuth2, and ignored with basic authentication."""

    model_config = ConfigDict(frozen=True)

    username: str
    password: SecretStr
    client: str | None = None
    secret: SecretStr | None = None


def parse_dhis2_credentials(text: str, settings: Settings) -> Dhis2Credentials:
    """Read the secret with DHIS2's credentials.

    Parameters
    ----------
    text
        JSON: ``{"username": "…", "password": "…", "client": "…", "secret": "…"}``, the last two optional.
    settings
        What says how DHIS2 is logged in to.

    Raises
    ------
    SettingsError
        Basic authentication is off.
    CredentialsError
        It is empty, not of that form, or lacks the user name or the password.
    """
    if not settings.basic_authentication:
        raise SettingsError([f"Basic authentication is off: {OAUTH2_COMES_LATER}"])
    if not text.strip():
        raise _no_dhis2_credentials("is not filled in yet")
    given = _read_object(text)
    if given is None:
        raise _no_dhis2_credentials("is not JSON with username and password")
    if unknown := len(given.keys() - set(_FIELDS)):
        raise _no_dhis2_credentials(f"has {unknown} field(s) other than {', '.join(_FIELDS)}")
    for name in ("username", "password"):
        value = given.get(name)
        if not isinstance(value, str) or not value.strip():
            raise _no_dhis2_credentials(f"has no text in its field {name}")
    client, secret = (_text_or_none(given.get(name)) for name in ("client", "secret"))
    return Dhis2Credentials(
        username=given["username"],
        password=SecretStr(given["password"]),
        client=client,
        secret=None if secret is None else SecretStr(secret),
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _no_dhis2_credentials(fault: str) -> CredentialsError:
    return CredentialsError(
        f"The secret with DHIS2's credentials {fault}. Run `make credentials`, which asks for them, or put "
        '{"username": "…", "password": "…"} into it with `aws secretsmanager put-secret-value`.'
    )


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where mSupply's database is and how to log in to it: the arguments of ``sqlalchemy.URL.create``.

    Attributes
    ----------
    drivername
        ``sqlite`` or ``postgresql+psycopg``.
    host
        A server, or the folder of a Unix socket. ``None`` for SQLite.
    database
        The database's name, or the file of SQLite.
    query
        ``sslmode``, where the address names one.
    """

    drivername: str
    database: str
    username: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def described(self) -> str:
        """The address for messages: neither user name nor password."""
        if self.host is None:
            return f"the SQLite file {self.database}"
        port = "" if self.port is None else f", port {self.port}"
        return f"the PostgreSQL database {self.database} on {self.host}{port}"


def parse_database_address(text: str) -> DatabaseAddress:
    """Read the address of mSupply's database.

    Parameters
    ----------
    text
        ``sqlite:///path``, ``postgresql://user:password@host:port/database`` (special characters of the
        password encoded as in addresses; ``?sslmode=…`` if need be, ``?host=/folder`` for a Unix socket), or
        JSON as Amazon RDS keeps it: ``{"host": …, "port": …, "dbname": …, "username": …, "password": …}``.

    Raises
    ------
    CredentialsError
        It is empty or none of these.
    """
    text = text.strip()
    if not text:
        raise _no_address("is not filled in yet")
    if text.startswith("{"):
        return _from_rds(text)
    if text.lower().startswith("sqlite:"):
        return _from_sqlite_url(text)
    if _POSTGRESQL.match(text):
        return _from_postgresql_url(text)
    raise _no_address("begins with neither sqlite:///, postgresql:// nor {")


def _no_address(fault: str) -> CredentialsError:
    return CredentialsError(
        f"The secret with the address of mSupply's database {fault}. It takes "
        "postgresql://user:password@host:5432/database, sqlite:///folder/file.sqlite (on one's own machine "
        'only), or the JSON of Amazon RDS: {"host": "…", "port": 5432, "dbname": "…", "username": "…", '
        '"password": "…"}. Run `make credentials`, which asks for it, or put it there with '
        "`aws secretsmanager put-secret-value`."
    )


def _from_sqlite_url(text: str) -> DatabaseAddress:
    _, slashes, path = text.partition(":///")
    if not slashes or not path:
        raise _no_address("names no file after sqlite:///")
    return DatabaseAddress(drivername="sqlite", database=path)


def _from_postgresql_url(text: str) -> DatabaseAddress:
    # A password with an unencoded '/', '?' or '#' cuts the address in a wrong place: host, port or database
    # are then not what they should be.
    encode = "; encode special characters of the password, such as / as %2F, # as %23 and ? as %3F"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # What was read as the port may be part of the password: it must not even be the error's cause.
        parts = None
    if parts is None or parts.fragment:
        raise _no_address(f"cannot be read{encode}")
    query = _query(parts, encode)
    host = query.pop("host", None) or host
    database = unquote(parts.path.removeprefix("/"))
    lacking = [
        name
        for name, value in (("user name", parts.username), ("host", host), ("database", database))
        if not value
    ]
    if lacking:
        raise _no_address(f"names no {', no '.join(lacking)}{encode}")
    if "/" in database or port == 0:
        raise _no_address(f"names a database with '/' in it, or port 0{encode}")
    return DatabaseAddress(
        drivername="postgresql+psycopg",
        database=database,
        username=unquote(parts.username or ""),
        password=None if parts.password is None else SecretStr(unquote(parts.password)),
        host=host,
        port=port or (None if str(host).startswith("/") else _POSTGRESQL_PORT),
        query=MappingProxyType(query),
    )


def _query(parts: SplitResult, encode: str) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if query.keys() - {"sslmode", "host"}:
        raise _no_address(f"has something other than sslmode or host after the '?'{encode}")
    if query.get("sslmode", "require") not in _SSL_MODES:
        raise _no_address(f"has an sslmode that is none of {', '.join(_SSL_MODES)}")
    if not query.get("host", "/").startswith("/"):
        raise _no_address("has a host after the '?' that is not the folder of a Unix socket")
    return query


def _from_rds(text: str) -> DatabaseAddress:
    given = _read_object(text)
    if given is None:
        raise _no_address("begins with { but is not JSON")
    lacking = [
        name for name in ("host", "dbname", "username", "password") if not _text_or_none(given.get(name))
    ]
    if lacking:
        raise _no_address(f"has no text in its field(s) {', '.join(lacking)}")
    port = str(given.get("port", _POSTGRESQL_PORT))
    if not re.fullmatch(r"[1-9]\d{0,4}", port, re.ASCII) or int(port) > _HIGHEST_PORT:
        raise _no_address("has a port that is no number from 1 to 65535")
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
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
