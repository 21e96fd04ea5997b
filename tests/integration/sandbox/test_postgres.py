import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from sandbox.postgres import temporary_postgres
from tests.support.paths import PROJECT


def is_running(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(process_id: int) -> bool:
    deadline = time.monotonic() + 20
    while is_running(process_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_starts_and_stops() -> None:
    with temporary_postgres() as server:
        process_id = server.process_id
        assert process_id is not None
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SELECT current_user, 6 * 7").fetchone()
        assert row == ("postgres", 42)
        assert is_running(process_id)
    assert not is_running(process_id)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url, connect_timeout=2)


def test_databases_survive() -> None:
    with temporary_postgres() as server:
        first, second = server.new_database("first"), server.new_database("second")
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE item AS SELECT 1 AS id")
        server.restart()
        with psycopg.connect(first) as connection:
            assert connection.execute("SELECT id FROM item").fetchall() == [(1,)]
        with psycopg.connect(second) as connection, pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT id FROM item")


def test_read_only_role() -> None:
    with temporary_postgres() as server:
        database = server.new_database("msupply")
        with psycopg.connect(database) as connection:
            connection.execute("CREATE TABLE item AS SELECT 1 AS id")
        server.new_role("reader", "right")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.address("msupply", user="reader", password="wrong"))
        with psycopg.connect(server.address("msupply", user="reader", password="right")) as connection:
            assert connection.execute("SELECT id FROM item").fetchall() == [(1,)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM item")


def test_open_connections() -> None:
    with temporary_postgres() as server:
        process_id = server.process_id
        connection = psycopg.connect(server.url)
    assert process_id is not None
    assert not is_running(process_id)
    connection.close()


def test_tls(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    with temporary_postgres(tls=True) as server:
        trusted.write_text(server.ca_certificate)
        server.new_role("reader", "right")
        url = server.address("postgres", user="reader", password="right")
        verified = f"{url}?sslmode=verify-full&sslrootcert={trusted}"
        with psycopg.connect(verified) as connection:
            assert connection.pgconn.ssl_in_use
            row = connection.execute("SELECT repeat('x', 1000000)").fetchone()
            assert row == ("x" * 1_000_000,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(verified.replace("right", "wrong"))


def test_tls_refusals(tmp_path: Path) -> None:
    with temporary_postgres(tls=True) as other:
        trusted = tmp_path / "ca.pem"
        trusted.write_text(other.ca_certificate)
    with temporary_postgres(tls=True) as server:
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(f"{server.url}?sslmode=verify-full&sslrootcert={trusted}")
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            psycopg.connect(f"{server.url}?sslmode=disable")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to look at processes")
def test_ends_with_its_parent() -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sandbox.postgres import temporary_postgres\n"
        "with temporary_postgres(directory=Path(sys.argv[1])) as server:\n"
        "    print(server.process_id, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [sys.executable, "-c", script, directory], cwd=PROJECT, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        process_id = int(process.stdout.readline())
        assert is_running(process_id)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_until_gone(process_id)
