"""What is said when mSupply's database cannot be opened or read, and what is never said."""

import os
import socket
import socketserver
import sqlite3
import ssl
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from msupply_dhis2.domain.choices import PUBLIC_AUTHORITIES, ChannelBinding, DatabaseTrust
from msupply_dhis2.errors import SourceError, SourceUnreachableError
from msupply_dhis2.settings.credentials import DatabaseAddress, parse_database_address
from msupply_dhis2.source import connection as database_module
from msupply_dhis2.source import merge as histories
from msupply_dhis2.source import open_source
from msupply_dhis2.source.connection import (
    UNVERIFIED_CERTIFICATE,
    Verification,
    open_database,
    verification_of,
)
from sandbox.postgres import TemporaryPostgres, temporary_postgres
from sandbox.postgres_tls import make_certificates
from tests.support.encrypting_postgres import encrypting_postgres
from tests.support.open_msupply_database import CALENDAR, OpenMsupplyDatabase, read_catalogue, scope_of

PASSWORD = "m%40rked+pass w/word"
ENCODED = "m%2540rked+pass%20w%2Fword"
FLOOR = datetime(2022, 1, 1)  # noqa: DTZ001 - instants of a source are naive, in UTC


@pytest.fixture(scope="module")
def postgres() -> Iterator[TemporaryPostgres]:
    with temporary_postgres() as server:
        server.new_role("reader", PASSWORD)
        yield server


@pytest.fixture(scope="module")
def encrypted() -> Iterator[TemporaryPostgres]:
    with temporary_postgres(tls=True) as server:
        server.new_role("reader", PASSWORD)
        yield server


def fault_at(address: str, trust: DatabaseTrust = UNVERIFIED_CERTIFICATE) -> SourceError:
    """Open a source that cannot be opened, and make sure that the error gives no secret away."""
    with (
        pytest.raises(SourceError) as raised,
        open_source(parse_database_address(address), calendar=CALENDAR, trust=trust),
    ):
        pass
    assert_nothing_is_given_away(raised.value)
    return raised.value


def assert_nothing_is_given_away(error: SourceError) -> None:
    said = "".join(traceback.format_exception(error)) + repr(error)
    for secret in (PASSWORD, ENCODED, "m%40rked", "m@rked", "rked"):
        assert secret not in said


def is_transient(error: SourceError) -> bool:
    return isinstance(error, SourceUnreachableError)


# SQLite


def test_missing_file(tmp_path: Path) -> None:
    error = fault_at(f"sqlite:///{tmp_path}/nowhere.sqlite")
    assert "nowhere.sqlite does not exist" in str(error)
    assert "on AWS the file is not there" in str(error)
    assert not is_transient(error)


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in str(fault_at(f"sqlite:///{tmp_path}"))


def test_other_file_kind(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("no database at all" * 100)
    assert "is not an SQLite database" in str(fault_at(f"sqlite:///{tmp_path}/export.csv"))


def test_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_LOCKED_WITHIN", 0)
    writer = sqlite3.connect(tmp_path / "msupply.sqlite")
    writer.execute("CREATE TABLE item (id)")
    writer.commit()
    writer.execute("BEGIN EXCLUSIVE")
    try:
        error = fault_at(f"sqlite:///{tmp_path}/msupply.sqlite")
    finally:
        writer.close()
    assert "is being written to by another program" in str(error)
    assert is_transient(error)


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "what? 100% of #1.sqlite"
    sqlite3.connect(name).close()
    os.truncate(name, 0)
    assert "is not mSupply's" in str(fault_at(f"sqlite:///{name}"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Whose database it is


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> OpenMsupplyDatabase:
    if request.param == "sqlite":
        return OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    return OpenMsupplyDatabase(server.url)


def drop_all_tables(database: OpenMsupplyDatabase) -> None:
    for table in sa.inspect(database.engine).get_table_names():
        database.execute(f'DROP TABLE "{table}"')


def test_foreign_database(database: OpenMsupplyDatabase) -> None:
    drop_all_tables(database)
    database.execute("CREATE TABLE item (id INTEGER)")
    said = str(fault_at(database.url))
    assert "is not mSupply's: it has none of Open mSupply's tables invoice, " in said
    assert "none of the tables transact, trans_line, item_line of the older mSupply's mirror" in said


def test_both_kinds(database: OpenMsupplyDatabase) -> None:
    database.execute("CREATE TABLE trans_line (id TEXT)")
    said = str(fault_at(database.url))
    assert "both Open mSupply's tables (such as invoice) and those of the older mSupply's mirror" in said
    assert "(such as trans_line)" in said


def test_mirror_in_sqlite(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mirror.sqlite")) as database:
        database.execute("CREATE TABLE transact (id TEXT)")
    assert "read from PostgreSQL" in str(fault_at(f"sqlite:///{tmp_path}/mirror.sqlite"))


def test_old_release(database: OpenMsupplyDatabase) -> None:
    database.execute("DROP INDEX index_invoice_received_datetime")
    database.execute("ALTER TABLE invoice DROP COLUMN received_datetime")
    database.execute("DROP TABLE master_list_name_join")
    said = str(fault_at(database.url))
    assert "too old: it lacks invoice.received_datetime, master_list_name_join (the whole table). " in said


# Reaching PostgreSQL


def test_unknown_host() -> None:
    error = fault_at(f"postgresql://reader:{ENCODED}@database.invalid/msupply")
    assert "could not be reached" in str(error)
    assert "name" in str(error)
    assert "database.invalid" in str(error)


def test_refused_port() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = fault_at(f"postgresql://reader:{ENCODED}@127.0.0.1:{unused.getsockname()[1]}/msupply")
    assert "nothing takes connections there" in str(error)
    assert is_transient(error)


def test_silent_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "CONNECT_WITHIN", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = fault_at(f"postgresql://reader:{ENCODED}@127.0.0.1:{silent.getsockname()[1]}/msupply")
    assert "firewall or security group" in str(error)
    assert "subnets" in str(error)
    assert is_transient(error)


# Logging in to PostgreSQL


def as_reader(server: TemporaryPostgres, password: str = ENCODED, database: str = "postgres") -> str:
    return server.address(database, user="reader", password=password)


def test_reader(postgres: TemporaryPostgres) -> None:
    OpenMsupplyDatabase(postgres.url)
    with open_database(parse_database_address(as_reader(postgres))) as connection:
        assert connection.execute(sa.text("SELECT current_user")).scalar() == "reader"


def test_wrong_password(postgres: TemporaryPostgres) -> None:
    error = fault_at(as_reader(postgres, "m%2540rkedwrong"))
    assert "refused the login" in str(error)
    assert "make credentials" in str(error)
    assert not is_transient(error)


def test_missing_password(postgres: TemporaryPostgres) -> None:
    assert "refused the login" in str(fault_at(postgres.address("postgres", user="reader")))


def test_missing_database(postgres: TemporaryPostgres) -> None:
    said = str(fault_at(as_reader(postgres, database="nowhere")))
    assert "PostgreSQL database nowhere on 127.0.0.1" in said
    assert "does not exist on that server" in said


def test_too_many_connections(postgres: TemporaryPostgres) -> None:
    database = OpenMsupplyDatabase(postgres.url)
    database.execute("CREATE ROLE crowded LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    error = fault_at(postgres.address("postgres", user="crowded", password="x"))
    assert "takes no connections now" in str(error)
    assert is_transient(error)


def test_reader_without_rights(postgres: TemporaryPostgres) -> None:
    database = OpenMsupplyDatabase(postgres.url)
    database.execute("CREATE ROLE bare LOGIN PASSWORD 'x'")
    database.execute("GRANT USAGE ON SCHEMA public TO bare")
    address = parse_database_address(postgres.address("postgres", user="bare", password="x"))
    with pytest.raises(SourceError, match="GRANT SELECT"), open_source(address, calendar=CALENDAR) as source:
        read_catalogue(source)


def test_connect_not_granted(postgres: TemporaryPostgres) -> None:
    database = OpenMsupplyDatabase(postgres.url)
    database.execute("CREATE ROLE outside LOGIN PASSWORD 'x'")
    postgres.new_database("closed")
    database.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    error = fault_at(postgres.address("closed", user="outside", password="x"))
    assert "GRANT CONNECT ON DATABASE" in str(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        (
            'entry for host "10.0.0.7", user "reader", database "omsupply", no encryption',
            "Take sslmode=disable out",
        ),
        (
            'entry for host "10.0.0.7", user "reader", database "omsupply", SSL off',
            "Take sslmode=disable out",
        ),
        (
            'entry for host "[local]", user "reader", database "omsupply", no encryption',
            "Add a line for the user",
        ),
    ],
)
def test_encrypted_only(said: str, cure: str) -> None:
    fields = f"SFATAL\0C28000\0Mno pg_hba.conf {said}\0\0".encode()

    class Refuses(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = (
            f"postgresql://reader:{ENCODED}@127.0.0.1:{server.server_address[1]}/omsupply?sslmode=disable"
        )
        error = fault_at(address)
        server.shutdown()
    assert cure in str(error)


# PostgreSQL with encryption


def test_encrypted_by_default(postgres: TemporaryPostgres) -> None:
    error = fault_at(as_reader(postgres).replace("?sslmode=disable", ""))
    assert "does not offer TLS" in str(error)
    assert "add ?sslmode=disable" in str(error)


def with_ca(certificate: str) -> DatabaseTrust:
    return DatabaseTrust(ca_certificate=certificate)


@dataclass
class Impostor:
    """A server that anybody on the way could pose as: it encrypts, and asks for the password in clear text."""

    port: int
    given: list[bytes]


@pytest.mark.parametrize(("days", "says"), [(-1, "that has expired. Let its"), (30, "did not sign")])
def test_expired_certificate(tmp_path: Path, days: int, says: str) -> None:
    authority, chain = make_certificates(days)
    with impostor_with(tmp_path, chain) as impostor:
        address = f"postgresql://reader:{ENCODED}@127.0.0.1:{impostor.port}/postgres"
        error = fault_at(address, with_ca(authority if days < 0 else make_certificates()[0]))
    assert says in str(error)
    assert not impostor.given


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    with impostor_with(tmp_path, make_certificates()[1]) as impostor:
        yield impostor


@contextmanager
def impostor_with(tmp_path: Path, chain: str) -> Iterator[Impostor]:
    (tmp_path / "tls.pem").write_text(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    given: list[bytes] = []

    class Asks(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(b"S")
            with context.wrap_socket(self.request, server_side=True) as connection:
                connection.recv(4096)
                connection.sendall(b"R" + struct.pack("!II", 8, 3))
                given.append(connection.recv(4096))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Expect clients to hang up."""

    with Server(("127.0.0.1", 0), Asks) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Impostor(server.server_address[1], given)
        server.shutdown()


@pytest.mark.parametrize("channel_binding", ChannelBinding)
def test_no_clear_text_password(impostor: Impostor, channel_binding: ChannelBinding) -> None:
    address = f"postgresql://reader:{ENCODED}@127.0.0.1:{impostor.port}/postgres"
    error = fault_at(address, DatabaseTrust(channel_binding=channel_binding))
    assert "the password was not sent" in str(error)
    assert not any(impostor.given)


def test_no_channel_binding(encrypted: TemporaryPostgres) -> None:
    error = fault_at(as_reader(encrypted))
    assert "database_ca_certificate" in str(error)
    assert "(database_channel_binding) to not_required" in str(error)
    assert not is_transient(error)
    for trust in (
        with_ca(encrypted.ca_certificate),
        DatabaseTrust(channel_binding=ChannelBinding.NOT_REQUIRED),
    ):
        with open_database(parse_database_address(as_reader(encrypted)), trust) as connection:
            assert connection.execute(sa.text("SELECT current_user")).scalar() == "reader"


def test_channel_binding() -> None:
    with encrypting_postgres() as server:
        server.new_role("reader", PASSWORD)
        address = server.address("postgres", user="reader", password=ENCODED)
        with open_database(parse_database_address(address)) as connection:
            assert connection.execute(sa.text("SELECT current_user")).scalar() == "reader"


def test_ca_certificate(
    encrypted: TemporaryPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    address = parse_database_address(as_reader(encrypted))
    with open_database(address, with_ca(encrypted.ca_certificate)) as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    assert list(tmp_path.iterdir()) == []


def test_unvouched_server(encrypted: TemporaryPostgres) -> None:
    with temporary_postgres(tls=True) as other:
        error = fault_at(as_reader(encrypted), with_ca(other.ca_certificate))
    assert "did not sign" in str(error)


@pytest.mark.parametrize(
    ("query", "trust"),
    [("", with_ca(PUBLIC_AUTHORITIES)), ("?sslmode=verify-full", UNVERIFIED_CERTIFICATE)],
)
def test_no_public_authority(encrypted: TemporaryPostgres, query: str, trust: DatabaseTrust) -> None:
    assert "did not sign" in str(fault_at(as_reader(encrypted) + query, trust))


def test_not_a_certificate(encrypted: TemporaryPostgres) -> None:
    assert "no readable CA certificate" in str(fault_at(as_reader(encrypted), with_ca("no certificate")))


@pytest.mark.parametrize(
    ("address", "trust", "verification"),
    [
        ("sqlite:///sample.sqlite", UNVERIFIED_CERTIFICATE, Verification.NOT_NEEDED),
        ("postgresql://reader@/omsupply?host=/run/postgresql", with_ca("PEM"), Verification.NOT_NEEDED),
        ("postgresql://reader@localhost/omsupply?sslmode=disable", with_ca("PEM"), Verification.NOT_NEEDED),
        ("postgresql://reader@db/omsupply?sslmode=disable", with_ca("PEM"), Verification.NONE),
        ("postgresql://reader@db/omsupply", with_ca("PEM"), Verification.CERTIFICATE),
        ("postgresql://reader@db/omsupply?sslmode=require", with_ca("PEM"), Verification.CERTIFICATE),
        ("postgresql://reader@db/omsupply", with_ca(PUBLIC_AUTHORITIES), Verification.CERTIFICATE),
        (
            "postgresql://reader@db/omsupply?sslmode=verify-full",
            UNVERIFIED_CERTIFICATE,
            Verification.CERTIFICATE,
        ),
        ("postgresql://reader@db/omsupply", UNVERIFIED_CERTIFICATE, Verification.CHANNEL_BINDING),
        ("postgresql://reader@127.0.0.1/omsupply", UNVERIFIED_CERTIFICATE, Verification.CHANNEL_BINDING),
        (
            "postgresql://reader@db/omsupply?sslmode=require",
            DatabaseTrust(channel_binding=ChannelBinding.NOT_REQUIRED),
            Verification.ENCRYPTED,
        ),
    ],
)
def test_verification_mode(address: str, trust: DatabaseTrust, verification: Verification) -> None:
    assert verification_of(parse_database_address(address), trust) is verification


# Reading PostgreSQL


def read_and_lose(address: DatabaseAddress, lose: Callable[[], object]) -> None:
    """Read histories, and lose the connection midway."""
    with open_source(address, calendar=CALENDAR) as source:
        groups = source.histories(scope_of(read_catalogue(source)), FLOOR)
        next(groups)
        lose()
        list(groups)


def test_connection_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "ROWS_AT_A_TIME", 1)
    with temporary_postgres() as server:
        server.new_role("reader", PASSWORD)
        database = OpenMsupplyDatabase(server.url)
        kamo = database.add_store("KAMO")
        for code in "abc":
            database.add_stock(kamo, database.add_item(code), 1)
        address = parse_database_address(as_reader(server))
        with pytest.raises(SourceUnreachableError, match="connection to it was lost") as raised:
            read_and_lose(address, server.stop)
    assert_nothing_is_given_away(raised.value)


def test_server_ends_connection(postgres: TemporaryPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "ROWS_AT_A_TIME", 1)
    database = OpenMsupplyDatabase(postgres.url)
    kamo = database.add_store("KAMO")
    for code in "abc":
        database.add_stock(kamo, database.add_item(code), 1)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'msupply-dhis2'"
    with pytest.raises(SourceUnreachableError, match="It says: terminating connection due to admin"):
        read_and_lose(database.address, lambda: database.execute(ended))


def test_query_time_out(postgres: TemporaryPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database_module.SESSION, "statement_timeout", "10ms")
    with (
        pytest.raises(SourceUnreachableError, match="took longer"),
        open_database(parse_database_address(as_reader(postgres))) as connection,
    ):
        connection.execute(sa.text("SELECT pg_sleep(60)"))


def test_driver_refuses_input(postgres: TemporaryPostgres) -> None:
    with (
        pytest.raises(SourceError, match="could not be read") as raised,
        open_database(parse_database_address(as_reader(postgres))) as connection,
    ):
        connection.execute(sa.text("SELECT CAST('infinity' AS date)")).scalar()
    assert not is_transient(raised.value)


def test_application_name(postgres: TemporaryPostgres) -> None:
    settings = "application_name", "transaction_read_only", "transaction_isolation", "statement_timeout"
    with open_database(parse_database_address(as_reader(postgres))) as connection:
        seen = [connection.execute(sa.text(f"SHOW {name}")).scalar() for name in settings]
    assert seen == ["msupply-dhis2", "on", "repeatable read", "14min"]


def test_driver_text_hides_password(postgres: TemporaryPostgres) -> None:
    address = parse_database_address(as_reader(postgres))
    with (
        pytest.raises(SourceError, match=r"It says: .*integer") as raised,
        open_database(address) as connection,
    ):
        connection.exec_driver_sql(f"SELECT CAST('{PASSWORD.replace('%', '%%')}' AS integer)")
    assert "***" in str(raised.value)
    assert_nothing_is_given_away(raised.value)
