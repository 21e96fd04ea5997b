"""The command prints one address, serves it on this machine only, and ends with Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cli.__main__ import main
from tests.support.paths import PROJECT


@contextmanager
def started(settings: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [
        "console",
        "--settings",
        str(settings),
        "--source",
        "sqlite:///none.sqlite",
        "--no-browser",
        *options,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "layers/common")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_address_and_ctrl_c(settings: Path) -> None:
    with started(settings) as process:
        assert process.stdout
        line = process.stdout.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/\?token=([\w-]{43})\n", line)
        assert address
        with httpx2.Client(follow_redirects=True, timeout=60) as browser:
            assert browser.get(f"{address[1]}/tab").status_code == 403
            answer = browser.get(line.strip())
            assert (answer.status_code, answer.url.path) == (200, "/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert address[2] not in err


def test_port_in_use(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = main(
            [
                "console",
                "--settings",
                str(settings),
                "--source",
                "sqlite:///x",
                "--no-browser",
                "--port",
                port,
            ]
        )
    assert code == 1
    assert f"--port: {port} cannot be used" in capsys.readouterr().err


def test_conflicting_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["console", "--stack", "malawi", "--source", "sqlite:///x", "--no-browser"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Give --source or --stack, not both." in said.err


@pytest.mark.usefixtures("aws")
def test_missing_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["console", "--no-browser"]) == 1
    assert "The stack msupply-dhis2 cannot be read" in capsys.readouterr().err
