"""What the emulator must do so that other tests can believe its log."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.emulator import Emulator

FUNCTION = """
import os


def handler(event, context):
    for number in range(event["lines"]):
        print(f"line {number} of {event['id']}")
    if event.get("dies"):
        os._exit(1)
"""

# The emulator's own thread that takes lines is held up at each of them, as on a busy machine.
HELD_UP = """
import os
import queue
import time

if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
    _put = queue.Queue.put

    def _held_up(self, *arguments, **named):
        time.sleep(0.03)
        _put(self, *arguments, **named)

    queue.Queue.put = _held_up
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "sitecustomize.py").write_text(HELD_UP)
    with Emulator(python_path=tmp_path) as running:
        yield running


def put_function(emulator: Emulator, name: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("app.py", FUNCTION)
    role = emulator.stack.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    emulator.stack.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="app.handler",
        Code={"ZipFile": archive.getvalue()},
    )


def logged(emulator: Emulator, name: str) -> list[str]:
    pages = emulator.stack.client("logs").get_paginator("filter_log_events")
    return [
        event["message"]
        for page in pages.paginate(logGroupName=f"/aws/lambda/{name}")
        for event in page["events"]
        if event["message"].startswith("line")
    ]


@pytest.mark.parametrize("dies", [False, True], ids=["returns", "dies"])
def test_log_is_complete(emulator: Emulator, *, dies: bool) -> None:
    put_function(emulator, "talks")
    for number in range(2):
        emulator.stack.client("lambda").invoke(
            FunctionName="talks", Payload=json.dumps({"id": number, "lines": 20, "dies": dies})
        )
        assert logged(emulator, "talks")[-20:] == [f"line {line} of {number}" for line in range(20)]
