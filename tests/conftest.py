"""What several tests share: AWS on 127.0.0.1, the speed of tests, and how many examples a law is tried with."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from msupply_dhis2.handlers import push_batch
from msupply_dhis2.push.job import Dhis2Session
from msupply_dhis2.state import dead_letters
from sandbox.aws_on_moto import BUCKET, Aws, MotoStack, moto
from sandbox.postgres import TemporaryPostgres, temporary_postgres
from tests.support.compiled_once import compiled_once
from tests.support.distribution import FilesAndStack
from tests.support.kept_tables import close_engines
from tests.support.laws import register_profiles

if TYPE_CHECKING:
    from xdist.remote import Producer  # type: ignore[import-untyped]

__all__ = ["BUCKET", "Aws"]

register_profiles()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make test-slow`` runs besides the slow tests: the laws, with all their examples."""
    for item in items:
        if isinstance(item, pytest.Function) and getattr(item.obj, "is_hypothesis_test", False):
            item.add_marker("law")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> FilesAndStack:
    """Distribute the tests over the processes."""
    return FilesAndStack(config, log)


def pytest_sessionfinish() -> None:
    """Leave no connection to a database open."""
    close_engines()


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    with compiled_once():
        yield


@pytest.fixture(scope="session")
def moto_stack() -> Iterator[MotoStack]:
    with moto():
        yield MotoStack()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """A server for all tests that want no more of it than databases."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def aws(moto_stack: MotoStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """AWS as a deployment leaves it: secrets without a value, no settings yet."""
    # Moto knows at once what a queue holds; SQS has to be waited for.
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    # Nor does the stand-in need a rest between two calls.
    monkeypatch.setattr(push_batch, "Dhis2Session", partial(Dhis2Session, pause=lambda _: None))
    with moto_stack.deployed(monkeypatch.setenv) as it:
        yield it
