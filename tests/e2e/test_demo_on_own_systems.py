"""``make demo SOURCE=… DHIS2_URL=…``, on the stack that is deployed already."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import demo
from sandbox.sample_world import TIME_ZONE

if TYPE_CHECKING:
    from tests.e2e.conftest import World
else:
    World = Any


def test_sends_what_it_announced(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "Emulator", lambda: nullcontext(world.emulator))
    monkeypatch.setattr(demo, "deploy", lambda *_: None)
    (tmp_path / "credentials.json").write_text(world.login)
    (tmp_path / "settings.yaml").write_text(world.settings)
    for name, value in {
        "SOURCE": world.database.address,
        "DHIS2_URL": world.dhis2.url,
        "SETTINGS": str(tmp_path / "settings.yaml"),
        "CREDENTIALS": str(tmp_path / "credentials.json"),
        "TIMEZONE": TIME_ZONE,
        "YES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    ended = demo.main([])
    said = capfd.readouterr().out
    assert ended == 0, said
    assert said.index("Dry run: ") < said.index("on the way to DHIS2")
    announced = re.search(r"Dry run: ([\d,]+) values", said)
    assert announced
    assert len(world.dhis2.values) == int(announced[1].replace(",", ""))
    assert world.password.get_secret_value() not in said
    assert world.database.password.get_secret_value() not in said
