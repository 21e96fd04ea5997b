"""How deep the calls of compute go: who reads a trace has to hold all of them in the head."""

import sys
from pathlib import Path
from types import FrameType

import pytest

from tests.conftest import Aws
from tests.support.whole_way import whole_way

OWN = 7
"""From the function's handler to the first call of the reader: event, run, step, values."""

WITH_READER = 18


def frames_of(frame: FrameType | None) -> list[str]:
    """Return the files of this project's frames, the outermost first."""
    files = []
    while frame is not None:
        file = frame.f_code.co_filename
        if "/msupply_dhis2/" in file or "/functions/" in file:
            files.append(file.rpartition("/msupply_dhis2/")[2])
        frame = frame.f_back
    return files[::-1]


def test_no_call_of_compute_goes_deeper_than_a_reader_can_follow(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deepest: list[str] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest
        if event != "call" or "/msupply_dhis2/" not in frame.f_code.co_filename:
            return
        deepest = max(deepest, frames_of(frame), key=len)

    with whole_way(aws, capsys, tmp_path) as world:
        sys.setprofile(look)
        try:
            world.compute()
        finally:
            sys.setprofile(None)
    before_reader = [file for file in deepest if not file.startswith("source/")]
    assert 0 < len(before_reader) <= OWN, deepest
    assert len(deepest) <= WITH_READER, deepest
