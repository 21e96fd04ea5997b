"""What the demo says of its console."""

import signal
from collections.abc import Iterator

import pytest

from sandbox import demo


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run it without what a shell says, and without its story."""
    for name in ("SOURCE", "DHIS2_URL", "CONSOLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(demo, "on_sample", lambda *_, **__: None)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("options", [[], ["--console"]])
def test_hint(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert demo.main(options) == 0
    assert ("make demo CONSOLE=yes" in capsys.readouterr().out) is not bool(options)


def test_own_systems(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--source", "sqlite:///omsupply.sqlite", "--dhis2-url", "http://127.0.0.1:1", "--console"]
    assert demo.main(options) == 2
    assert "make console" in capsys.readouterr().out
