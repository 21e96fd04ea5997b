"""A sample of mSupply, a DHIS2 and an officer's browser."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import StandIn, User
from sandbox.sample import generate
from sandbox.sample_world import catalogue_of, metadata_for
from tests.support.console import Browser, browser
from tests.support.paths import PROJECT

PASSWORD = "mark3d-secret"
SCRIPT = "<script>alert(1)</script>"
AS_OF = "2026-10-31T22:30"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a settings file that sends everything."""
    file = tmp_path / "settings.yaml"
    sample = (PROJECT / "settings.yaml").read_text(encoding="utf-8")
    file.write_text(sample.replace("use_dhis2: false", "use_dhis2: true"))
    return file


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a database of four stores, of which one has a script for a name."""
    file = tmp_path_factory.mktemp("console") / "omsupply.sqlite"
    generate(f"sqlite:///{file}", stores=4, items=4, seed=3, as_of=date(2026, 10, 31))
    with closing(sqlite3.connect(file)) as database, database:
        first = "SELECT min(n.id) FROM name n JOIN name_link l ON l.name_id = n.id JOIN store s ON s.name_link_id = l.id"
        database.execute(f"UPDATE name SET name = ? WHERE id = ({first})", (SCRIPT,))  # noqa: S608 - a constant
    return f"sqlite:///{file}"


@pytest.fixture
def dhis2(sample: str) -> Iterator[StandIn]:
    """Yield a DHIS2 that fits the sample, and knows one user."""
    settings = parse_settings((PROJECT / "settings.yaml").read_text(encoding="utf-8"))
    metadata = metadata_for(catalogue_of(sample, settings))
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version="2.41", users=[user], now=date(2026, 11, 1)) as server:
        yield server


@pytest.fixture
def officer(settings: Path, sample: str) -> Browser:
    """Return a browser at a console that needs no DHIS2."""
    return browser(settings, sample, time_zone="Pacific/Auckland")


@pytest.fixture
def with_login(settings: Path, sample: str, dhis2: StandIn, tmp_path: Path) -> Callable[[], Browser]:
    """Return what opens a browser at a console that has a login in a file."""
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"username": "pusher", "password": PASSWORD}))
    return lambda: browser(
        settings, sample, dhis2_url=dhis2.url, credentials_file=credentials, time_zone="Pacific/Auckland"
    )
