"""``make demo SOURCE=… DHIS2_URL=…``: everything is looked at before anything is built."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from msupply_dhis2.settings import parse_settings
from sandbox import demo
from sandbox.dhis2 import ADMIN, StandIn
from sandbox.sample import generate
from sandbox.sample_world import catalogue_of, metadata_for
from tests.support.paths import PROJECT

SAMPLE = (PROJECT / "settings.yaml").read_text(encoding="utf-8")


class BuiltError(Exception):
    """The demo got as far as building."""


@pytest.fixture
def dhis2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.chdir(tmp_path)
    for name in ("SOURCE", "DHIS2_URL", "SETTINGS", "CREDENTIALS", "TIMEZONE", "YES"):
        monkeypatch.delenv(name, raising=False)
    as_of = date(2026, 10, 31)
    generate("sqlite:///sample.sqlite", stores=2, items=3, as_of=as_of)
    (tmp_path / "settings.yaml").write_text(SAMPLE)
    login = {"username": ADMIN.username, "password": ADMIN.password.get_secret_value()}
    (tmp_path / "login.json").write_text(json.dumps(login))
    (tmp_path / "wrong.json").write_text(json.dumps({**login, "password": "wr0ng"}))
    (tmp_path / "empty.yaml").write_text("use_dhis2: false")

    def build(*_: object) -> None:
        raise BuiltError

    monkeypatch.setattr(demo, "Emulator", build)
    metadata = metadata_for(catalogue_of("sqlite:///sample.sqlite", parse_settings(SAMPLE)))
    with StandIn(metadata) as server:
        yield server


def own(dhis2: StandIn, **changes: str) -> list[str]:
    given = {
        "source": "sqlite:///sample.sqlite",
        "dhis2-url": dhis2.url,
        "settings": "settings.yaml",
        "credentials": "login.json",
        **changes,
    }
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def test_relative_paths(dhis2: StandIn) -> None:
    with pytest.raises(BuiltError):
        demo.main(own(dhis2))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "sqlite:///none.sqlite"}, "none.sqlite does not exist"),
        ({"source": "mysql://x"}, "begins with neither sqlite:///"),
        ({"dhis2-url": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"settings": "empty.yaml"}, "Data set ID is missing"),
        ({"settings": "none.yaml"}, "none.yaml cannot be read"),
        ({"credentials": "wrong.json"}, "Authentication failed"),
        ({"credentials": "settings.yaml"}, "--credentials: settings.yaml is not JSON"),
        ({"timezone": "Auckland"}, "Pacific/Auckland"),
    ],
)
def test_fault_before_building(
    dhis2: StandIn, changes: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(own(dhis2, **changes)) == 1
    said = capsys.readouterr().out
    assert says in said
    assert "The demo failed." in said
