"""A clock that the emulator, the functions in it and this process share, and that can be put forward.

A dashboard shows weeks, and its picture must not take weeks. So the runs of five weeks happen one after the other, with
the clock put forward between them. The functions are not told: they read the time as always.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import time_machine

_FOLLOWS = '''\
"""Python imports this at its start: the process keeps the time that a file says, as seconds ahead of the real one."""

import os
import pathlib
import threading
import time

import time_machine

_FILE = pathlib.Path(__file__).with_name("ahead")
_monotonic = time.monotonic
_first = _ahead = float(_FILE.read_text())
_traveller = time_machine.travel(time.time() + _ahead, tick=True).start()


def _follow():
    global _ahead
    while True:
        time.sleep(0.02)
        said = float(_FILE.read_text())
        if said != _ahead:
            _traveller.shift(said - _ahead)
            _ahead = said


threading.Thread(target=_follow, daemon=True).start()

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # What a function remembers for a minute shall be a minute old when a day has passed.
    time.monotonic = lambda: _monotonic() + _ahead - _first
'''

_NOTICED_WITHIN = 0.2
"""Seconds after which every process has read the file."""


class Clock:
    """The clock that is put forward.

    Attributes
    ----------
    python_path
        A folder for ``PYTHONPATH``: what finds it there keeps this time.
    """

    def __init__(self, python_path: Path, traveller: time_machine.Traveller, ahead: float) -> None:
        self.python_path = python_path
        self._traveller = traveller
        self._ahead = ahead

    def put(self, instant: datetime) -> None:
        """Let time pass until an aware instant; one that is over is left alone."""
        passes = max(instant - datetime.now(instant.tzinfo), timedelta())
        self._ahead += passes.total_seconds()
        self._traveller.shift(passes)
        _write(self.python_path, self._ahead)
        time.sleep(_NOTICED_WITHIN)


def _write(folder: Path, ahead: float) -> None:
    # In one piece: it is read all the time.
    new = folder / "ahead.new"
    new.write_text(str(ahead), encoding="utf-8")
    new.replace(folder / "ahead")


@contextmanager
def moved_clock(begins: datetime) -> Iterator[Clock]:
    """Have this process, and those that are given the clock's folder, live from an instant on."""
    with tempfile.TemporaryDirectory(prefix="clock-") as name:
        folder = Path(name)
        for module in ("time_machine", "_time_machine"):
            spec = find_spec(module)
            assert spec is not None  # noqa: S101 - it is imported above
            assert spec.origin is not None  # noqa: S101 - it is a file
            origin = Path(spec.origin)
            origin = origin.parent if origin.name == "__init__.py" else origin
            (folder / origin.name).symlink_to(origin)
        (folder / "sitecustomize.py").write_text(_FOLLOWS, encoding="utf-8")
        ahead = begins.timestamp() - time.time()
        _write(folder, ahead)
        with time_machine.travel(begins.timestamp(), tick=True) as traveller:
            yield Clock(folder, traveller, ahead)
