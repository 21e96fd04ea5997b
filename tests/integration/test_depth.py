"""How deep the calls of compute and push go: who reads a trace has to hold all of them in the head."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import FrameType

import pytest

from tests.conftest import Aws
from tests.support.whole_way import whole_way

OWN = 6
"""From the function's handler to the first call of the reader: event, run, values."""

WITH_READER = 12
"""The deepest reads a field of a store, writes a query, and finds the midnight of the day of reading."""

DEEPEST = 13
"""The deepest tells what is wrong with a period's pattern in the settings."""

PUSH_OWN = 5
"""From the function's handler to the first call of what knows DHIS2: event, delivery, message, batch."""

WITH_DHIS2 = 13
"""The deepest asks for the data set; a call that posts values takes 12."""

PURE = {"redaction.py", "periods.py"}
"""What takes secrets out of a text, and the arithmetic of periods: a call of either is one step to who reads a trace."""


def frames_of(frame: FrameType | None) -> list[str]:
    """Return the files of this project's frames, the outermost first."""
    files = []
    while frame is not None:
        file = frame.f_code.co_filename
        if "/msupply_dhis2/" in file or "/functions/" in file:
            files.append(file.rpartition("/msupply_dhis2/")[2])
        frame = frame.f_back
    return files[::-1]


@contextmanager
def deepest_calls(through: str = "", without: Collection[str] = ()) -> Iterator[list[str]]:
    """Fill in the files of the deepest call, of those that go through a package where one is given."""
    deepest: list[str] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "/msupply_dhis2/" in frame.f_code.co_filename:
            files = [file for file in frames_of(frame) if file not in without]
            if not any(file.startswith(through) for file in files):
                return
            deepest[:] = files if len(files) > len(deepest) else deepest

    sys.setprofile(look)
    try:
        yield deepest
    finally:
        sys.setprofile(None)


def test_compute(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with whole_way(aws, capsys, tmp_path) as world:
        # First, because what is written down once is kept.
        with deepest_calls(through="source/") as deepest_of_reader:
            world.compute()
        with deepest_calls() as deepest:
            world.compute()
    before_reader = list(takewhile(lambda file: not file.startswith("source/"), deepest_of_reader))
    assert 0 < len(before_reader) <= OWN, deepest_of_reader
    assert len(deepest_of_reader) <= WITH_READER, deepest_of_reader
    assert len(deepest) <= DEEPEST, deepest


def test_push(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with whole_way(aws, capsys, tmp_path) as world:
        world.compute()
        with deepest_calls() as deepest:
            world.deliver()
    calls = [file for file in deepest if file != "redaction.py"]
    assert 0 < len([file for file in calls if not file.startswith("dhis2/")]) <= PUSH_OWN, deepest
    assert len(calls) <= WITH_DHIS2, deepest
