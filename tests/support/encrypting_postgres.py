"""A PostgreSQL server that encrypts by itself, and so can prove with channel binding that it knows a password.

That of the development dependencies is built without TLS: the system's own is taken, where there is one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from sandbox.postgres import TemporaryPostgres, temporary_postgres
from sandbox.postgres_tls import make_certificates


class EncryptingPostgres:
    """The server; its addresses name no ``sslmode``."""

    def __init__(self, server: TemporaryPostgres) -> None:
        self._server = server

    def new_role(self, name: str, password: str) -> None:
        self._server.new_role(name, password)

    def address(self, database: str, *, user: str, password: str) -> str:
        return self._server.address(database, user=user, password=password).removesuffix("?sslmode=disable")


@contextmanager
def encrypting_postgres() -> Iterator[EncryptingPostgres]:
    """Run it; skip the test where the system has no PostgreSQL with TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL with TLS is installed here (Debian: apt-get install postgresql)")
    with (
        TemporaryDirectory(prefix="postgres-") as folder,
        temporary_postgres(directory=Path(folder), binaries=found[-1].parent) as server,
    ):
        data = Path(folder) / "data"
        key = data / "server.key"
        _, chain = make_certificates()
        key.write_text(chain)
        key.chmod(0o600)
        owner = data.stat()
        shutil.chown(key, owner.st_uid, owner.st_gid)
        with psycopg.connect(server.url, autocommit=True) as connection:
            for name, value in {
                "ssl": "on",
                "ssl_cert_file": "server.key",
                "ssl_key_file": "server.key",
            }.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        server.restart()
        yield EncryptingPostgres(server)
