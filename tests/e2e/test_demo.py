"""``make demo``, as the README promises it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

from sandbox.tools import PROJECT

STOPS_WITHIN = 60.0


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Make a folder beside pytest's own, which another run of pytest closes to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory() as folder:
        # Where we are root, PostgreSQL runs as somebody else.
        Path(folder).chmod(0o711)
        yield Path(folder)


def environment(temporary: Path) -> dict[str, str]:
    """Return an environment in which everything temporary lies in one folder, so that it can be looked for."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    return {**inherited, "TMPDIR": str(temporary)}


def processes_about(temporary: Path) -> list[str]:
    """Return the command lines of the processes that have to do with a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            working_folder = str((process / "cwd").readlink())
        except OSError:
            continue
        if int(process.name) != os.getpid() and (
            str(temporary).encode() in text or str(temporary) in working_folder
        ):
            found.append(text.partition(b"\0\0")[0].decode(errors="replace")[:200])
    return found


def assert_nothing_is_left(temporary: Path) -> None:
    deadline = time.monotonic() + STOPS_WITHIN
    while processes_about(temporary):
        assert time.monotonic() < deadline, processes_about(temporary)
        time.sleep(0.1)
    # uv's lock file is make's, not the demo's.
    assert [path.name for path in temporary.iterdir() if not path.name.startswith("uv-")] == []


@contextmanager
def started(*options: str, within: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the demo as in a terminal of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", *options],
        cwd=PROJECT,
        env=environment(within),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore the interrupt, and what they start too.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs yet
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_every_value_arrives(temporary: Path) -> None:
    lines = []
    with started("--console", within=temporary) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if line.startswith("http://127.0.0.1:"):
                break
        else:
            raise AssertionError("".join(lines))
        with httpx2.Client(follow_redirects=True, timeout=60, trust_env=False) as browser:
            page = browser.get(lines[-1].strip())
        assert page.status_code == 200
        assert "user/officer" in page.text
        os.killpg(process.pid, signal.SIGINT)
        said = "".join((*lines, process.stdout.read()))
        assert process.wait(STOPS_WITHIN) == 0, said
    in_order = [
        "sam build",
        "sam deploy",
        "$ make settings",
        "$ make credentials",
        "$ make metadata-plan",
        "$ make metadata-apply",
        "Authentication failed",
        "The connection works.",
        "$ make push",
        "on the way to DHIS2",
        "rejected. ",
        "Do the numbers add up?",
        "A health centre without mSupply",
        "in Outreach post 1:",
        "What the dashboard shows",
        "mSupply stock availability by district: Northern District ",
        "The console, until Ctrl-C",
        "sam delete",
        "Done in",
    ]
    places = [said.index(text) for text in in_order]
    assert places == sorted(places), said
    sums = re.search(
        r"stored ([\d,]+) \+ unchanged ([\d,]+) \+ rejected ([\d,]+) \+ unaccounted ([\d,]+) = ([\d,]+)", said
    )
    assert sums, said
    *outcomes, sent = (int(number.replace(",", "")) for number in sums.groups())
    assert sum(outcomes) == sent > 0
    assert outcomes[2] > 0, "the slip in DHIS2's metadata rejects some values"
    assert_nothing_is_left(temporary)


def test_interrupted(temporary: Path) -> None:
    with started(within=temporary) as process:
        assert process.stdout
        for line in process.stdout:
            if "ok sam build" in line:
                break
        else:
            raise AssertionError("the demo ended before it could be interrupted")
        # As Ctrl-C does it: to everything that runs in the foreground.
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(STOPS_WITHIN) == 130, rest
    assert "Interrupted" in rest
    assert "Traceback" not in rest
    assert_nothing_is_left(temporary)


def test_emulator_ends_with_parent(temporary: Path) -> None:
    script = (
        "import time\nfrom sandbox.emulator import Emulator\n"
        "with Emulator():\n print('ready', flush=True)\n time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert len(processes_about(temporary)) > 1
    finally:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + STOPS_WITHIN
    while processes_about(temporary):
        assert time.monotonic() < deadline, processes_about(temporary)
        time.sleep(0.1)


def test_own_systems_need_both() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--source", "sqlite:///nowhere.sqlite"],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in {"SOURCE", "DHIS2_URL"}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "SOURCE=… and DHIS2_URL=…" in finished.stdout
