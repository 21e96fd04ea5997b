"""Opening mSupply's database: read-only, one consistent state, and faults in words that say what to do."""

import re
import socket
import sqlite3
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote

import certifi
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from msupply_dhis2.domain.choices import PUBLIC_AUTHORITIES, ChannelBinding, DatabaseTrust
from msupply_dhis2.errors import SourceError, SourceUnreachableError
from msupply_dhis2.redaction import Mask
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.settings.urls import is_this_machine
from msupply_dhis2.source.sql import SQLITE_FUNCTIONS, Columns

CONNECT_WITHIN = 10
"""Seconds. A wrong subnet or security group lets packets vanish: waiting longer only hides it."""

ANSWER_WITHIN = 14 * 60
"""Seconds that one query may take: just under the 15 minutes after which Lambda ends everything unheard."""

_LOCKED_WITHIN = 30
"""Seconds to wait for another program that is writing to an SQLite file."""

_SAID_LIMIT = 1_000
"""Characters of what the database says of a fault."""

_SECRET = "the secret with the address of mSupply's database"  # noqa: S105 - a name, not a secret

_PORT = 5432
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
_HAS_EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""

UNVERIFIED_CERTIFICATE = DatabaseTrust()
"""What holds where the settings say nothing."""

SESSION = {
    "statement_timeout": f"{ANSWER_WITHIN}s",
    # A cursor is planned for its first rows unless told that all will be read.
    "cursor_tuple_fraction": "1",
    # Floats as they are, on every version.
    "extra_float_digits": "3",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
}

_COLUMNS = {
    "sqlite": (
        "SELECT t.name, c.name, c.type FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c "
        "WHERE t.type IN ('table', 'view')"
    ),
    # Not information_schema: it hides tables that the user may not read, so it would look like another program's database.
    "postgresql": (
        "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid "
        "WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND a.attnum > 0 AND NOT a.attisdropped "
        "AND pg_catalog.pg_table_is_visible(c.oid)"
    ),
}


@contextmanager
def open_database(
    address: DatabaseAddress, trust: DatabaseTrust = UNVERIFIED_CERTIFICATE
) -> Iterator[Connection]:
    """Open one connection in one read-only transaction: all its queries see one state of the database.

    On SQLite a reading transaction does this (the other program can go on writing where the file is in WAL mode, and waits
    otherwise), on PostgreSQL ``REPEATABLE READ``. What the database or its driver raises meanwhile leaves as a sentence:
    ``SourceUnreachableError``: trying again later may help; ``SourceError``: it does not.
    """
    try:
        with ExitStack() as stack:
            is_sqlite = address.drivername == "sqlite"
            security = {} if is_sqlite else stack.enter_context(_security(address, trust))
            engine = _sqlite(address) if is_sqlite else _postgresql(address, security)
            connection = stack.enter_context(engine.connect())
            for name, value in {} if is_sqlite else SESSION.items():
                connection.execute(text("SELECT set_config(:name, :to, true)"), {"name": name, "to": value})
            yield connection
    except SQLAlchemyError as error:
        fault = _fault_of(error, address, trust)
    else:
        return
    # Without the cause: what a driver says may hold the whole address, password included.
    raise fault from None


def read_columns(connection: Connection) -> Columns:
    """Read which tables and views there are, with their columns."""
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(text(_COLUMNS[connection.dialect.name])):
        columns.setdefault(table, {})[column] = kind
    return Columns(columns)


def reading_began(connection: Connection) -> datetime:
    """Return the instant (naive UTC) at which the reading of a database began, by its own clock where it has one."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC).replace(tzinfo=None)
    query = text("SELECT transaction_timestamp() AT TIME ZONE 'UTC'")
    began: datetime = connection.execute(query).scalar_one()
    return began


def _sqlite(address: DatabaseAddress) -> Engine:
    path = Path(address.database)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(
            f"mSupply's database: {address.described} {what}. On your own machine, correct the path; on AWS the file is not "
            f"there, and {_SECRET} must hold postgresql://user:password@host:5432/database."
        )

    def connect() -> sqlite3.Connection:
        uri = f"file:{quote(str(path))}?mode=ro"
        # Or sqlite3 would begin transactions when it sees fit, which is never for reading.
        connection = sqlite3.connect(uri, uri=True, timeout=_LOCKED_WITHIN, isolation_level=None)
        for name, (arguments, function) in SQLITE_FUNCTIONS.items():
            connection.create_function(name, arguments, function, deterministic=True)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        # A transaction sees the state at its first reading, not at its beginning.
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")

    return engine


def _postgresql(address: DatabaseAddress, security: Mapping[str, str]) -> Engine:
    return create_engine(
        URL.create(
            address.drivername,
            username=address.username,
            password=None if address.password is None else address.password.get_secret_value(),
            port=address.port,
            database=address.database,
        ),
        poolclass=NullPool,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        connect_args={
            **security,
            # Not part of the URL, which has no room for the folder of a socket.
            "host": address.host,
            "connect_timeout": CONNECT_WITHIN,
            "application_name": "msupply-dhis2",
            "client_encoding": "utf8",
            # Statements that the server keeps under a name fail behind a connection pooler.
            "prepare_threshold": None,
            # A server that vanishes is noticed within a minute, not when the system gives up hours later.
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        },
    )


class Verification(StrEnum):
    """How a server is known to be mSupply's database, in the words of the connection test."""

    NOT_NEEDED = ""
    CERTIFICATE = "The server's certificate was verified."
    CHANNEL_BINDING = "The server proved that it knows the password (channel binding)."
    ENCRYPTED = (
        "The connection is encrypted, but nothing proves that the server is yours, because Database channel binding is "
        "'not_required'. Give the certificate of the server's authority in Database CA certificate "
        "(database_ca_certificate)."
    )
    NONE = (
        "The connection is NOT encrypted (sslmode=disable in the address): anybody on the way can read what mSupply "
        f"sends. Take sslmode=disable out of {_SECRET}."
    )


def verification_of(address: DatabaseAddress, trust: DatabaseTrust) -> Verification:
    """Return how the server at an address is verified."""
    mode = address.query.get("sslmode")
    if address.host is None or address.host.startswith("/"):
        return Verification.NOT_NEEDED
    if mode == "disable":
        return Verification.NOT_NEEDED if is_this_machine(address.host) else Verification.NONE
    if trust.ca_certificate is not None or mode in {"verify-ca", "verify-full"}:
        return Verification.CERTIFICATE
    is_required = trust.channel_binding is ChannelBinding.REQUIRED
    return Verification.CHANNEL_BINDING if is_required else Verification.ENCRYPTED


_SECURITY = {
    Verification.NOT_NEEDED: {"sslmode": "disable"},
    # A server that is not verified may be anybody's, and may ask for the password in clear text: it is refused then.
    Verification.NONE: {"sslmode": "disable", "require_auth": "!password"},
    Verification.ENCRYPTED: {"sslmode": "require", "require_auth": "!password"},
    Verification.CHANNEL_BINDING: {
        "sslmode": "require",
        "channel_binding": "require",
        "require_auth": "scram-sha-256",
    },
}


@contextmanager
def _security(address: DatabaseAddress, trust: DatabaseTrust) -> Iterator[Mapping[str, str]]:
    """Yield how PostgreSQL's library makes sure of the server."""
    verification = verification_of(address, trust)
    if verification is not Verification.CERTIFICATE:
        yield _SECURITY[verification]
        return
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(_authorities(trust))
        file.flush()
        yield {"sslmode": "verify-full", "sslrootcert": file.name}


def _authorities(trust: DatabaseTrust) -> str:
    if trust.ca_certificate is None or trust.ca_certificate == PUBLIC_AUTHORITIES:
        return certifi.contents()
    return trust.ca_certificate


_LOST = "did not answer, or the connection to it was lost. Try again later."
_UNTRUSTED = (
    "has a TLS certificate that the CA certificate did not sign. Check the host's name and that the CA certificate is the one "
    "of this server."
)
_EXPIRED = (
    "has a TLS certificate that has expired. Let its administrator renew the server's certificate; if it is the authority's, "
    "put the new one into Database CA certificate (database_ca_certificate) in the settings."
)
_PASSING = {
    "SQLITE_BUSY": "is being written to by another program. Try again later.",
    "Temporary failure in name resolution": (
        "could not be reached: its name cannot be resolved now. Try again later. In private subnets, check that the network's "
        "DNS is on."
    ),
    "Connection refused": (
        "could not be reached: nothing takes connections there. Check the host and port, and that PostgreSQL is running and "
        "listens to other machines (listen_addresses)."
    ),
    "timeout expired|timed out|No route to host|Network is unreachable": (
        f"did not answer within {CONNECT_WITHIN} seconds. Check its firewall or security group, and the host and port; if it "
        "is in a private network, the stack's subnets and security groups for compute."
    ),
    "^53...$|starting up|shutting down|too many|connection slots|recovery mode": (
        "takes no connections now: it is starting, stopping or has too many. Try again later."
    ),
    "^57014$": (
        f"took longer than {ANSWER_WITHIN // 60} minutes for one query, or somebody stopped it. Try again when the server has "
        "less to do."
    ),
    "^40001$": "is a copy (standby) that stopped the query to follow its primary. Try again later.",
    "^57P..$|^08...$": _LOST,
}
"""What is said of a fault by the name of SQLite's error, by PostgreSQL's code (appendix A of its manual), or by the words of its
library, which passes on no code while a connection is made. The first that fits counts."""

_LASTING = {
    "SQLITE_NOTADB": "is not an SQLite database: give the file that Open mSupply itself uses.",
    "SQLITE_CORRUPT": "is damaged. Restore it from a backup.",
    "SQLITE_CANTOPEN": ("could not be opened. Check the rights on it, and, for WAL mode, on its folder."),
    "failed to resolve host|could not translate host name": (
        f"could not be reached: there is no server with that name. Check the host in {_SECRET}."
    ),
    "does not support SSL": (
        "does not offer TLS, which is required. Turn TLS on at the server; only for a database on your own machine, add "
        "?sslmode=disable to its address."
    ),
    "root certificate file": (
        "could not be checked: there is no readable CA certificate. Put the certificate of the server's authority, as PEM "
        "text, into Database CA certificate (database_ca_certificate) in the settings."
    ),
    "channel binding|authentication method requirement": (
        "did not prove that it is your server, so the password was not sent. It may be behind a pooler that cannot do so "
        "(PgBouncer, RDS Proxy), it may keep the password in an old form (md5), or another server may pose as it. The safer "
        "cure: put the certificate of its authority into Database CA certificate (database_ca_certificate; 'public "
        "authorities' for a publicly known one). Or set Database channel binding (database_channel_binding) to not_required."
    ),
    "certificate verify failed|does not match host name": _UNTRUSTED,
    r'entry for host "(?!\[local\]).*(no encryption|SSL off)': (
        "accepts this user over encrypted connections only, and the address says sslmode=disable. Take sslmode=disable out "
        f"of {_SECRET}."
    ),
    "permission denied for database": (
        "does not let this user connect to this database. Let its administrator run: GRANT CONNECT ON DATABASE "
        '"the database" TO "the user".'
    ),
    r"no pg_hba\.conf entry|pg_hba\.conf rejects": (
        "does not accept this user from this address, or with this kind of login. Add a line for the user to the server's "
        "pg_hba.conf."
    ),
    '^28...$|authentication failed|no password supplied|role ".*" (does not exist|is not permitted)': (
        f"refused the login. Check the user name and password in {_SECRET}; `make credentials` asks for it again."
    ),
    'database ".*" does not exist': f"does not exist on that server. Check the name of the database in {_SECRET}.",
    "^42501$": (
        "does not let this user read its tables. Let its administrator run: GRANT SELECT ON ALL TABLES IN SCHEMA public TO "
        '"the user".'
    ),
}
"""The same, where trying again later does not help."""


def _fault_of(error: SQLAlchemyError, address: DatabaseAddress, trust: DatabaseTrust) -> SourceError:
    """Return what to tell of an error, with the first line of the database's own words but for the password."""
    of_driver = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(of_driver, "sqlite_errorname", None) or getattr(of_driver, "sqlstate", None)
    is_lost = (
        isinstance(error, OperationalError | InterfaceError) and address.drivername != "sqlite" and not code
    )
    known = code or (str(of_driver) if is_lost else "")
    passing, lasting = [
        next((said for pattern, said in faults.items() if re.search(pattern, known)), "")
        for faults in (_PASSING, _LASTING)
    ]
    if is_lost and not lasting:
        passing = passing or _LOST
    sentence = passing or lasting or "could not be read."
    if sentence is _UNTRUSTED and _is_expired(address, trust):
        sentence = _EXPIRED
    mask = Mask([address.password.get_secret_value()] if address.password else [])
    line = mask.text(str(of_driver or "").partition("\n")[0].strip(), _SAID_LIMIT)
    said = f"mSupply's database ({address.described}) {sentence}{line and f' It says: {line}'}"
    return SourceUnreachableError(said) if passing else SourceError(said)


def _is_expired(address: DatabaseAddress, trust: DatabaseTrust) -> bool:
    """Look at the server's certificate once more: PostgreSQL's library does not say why it does not trust one."""
    try:
        context = ssl.create_default_context(cadata=_authorities(trust))
        # PostgreSQL's library is not strict either.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with socket.create_connection((address.host, address.port or _PORT), CONNECT_WITHIN) as connection:
            connection.sendall(_SSL_REQUEST)
            connection.recv(1)
            context.wrap_socket(connection, server_hostname=address.host).close()
    except OSError as error:
        return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _HAS_EXPIRED
    return False
