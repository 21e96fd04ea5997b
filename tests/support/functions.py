"""Invoking a function's handler, and the events that AWS sends."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

type Handler = Callable[[object, Any], dict[str, Any]]


@dataclass
class Context:
    """What Lambda hands to a handler."""

    function_name: str = "stack-function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:stack-function"
    aws_request_id: str = field(default="request-1")
    seconds_left: float = 300.0

    def get_remaining_time_in_millis(self) -> int:
        """Give the time that the function has left."""
        return int(1000 * self.seconds_left)


def handler_of(function: str) -> Handler:
    """Load a function's app.py as a cold start does."""
    path = Path(__file__).parents[2] / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"{function}_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def delivery(*bodies: str) -> dict[str, object]:
    """Give the event by which SQS delivers messages."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "md5OfBody": "",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:stack-batches",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


@dataclass
class Invocation:
    """What a function answered, and the lines that it wrote to its log."""

    answer: dict[str, Any]
    lines: list[dict[str, Any]]

    def said(self, words: str) -> list[dict[str, Any]]:
        """Give the log lines whose message holds these words."""
        return [line for line in self.lines if words in str(line.get("message", ""))]

    def metric(self, name: str) -> float:
        """Sum a metric over what was written."""
        return sum(sum(line[name]) for line in self.lines if "_aws" in line and name in line)


def invoke(
    function: str, event: object, capsys: pytest.CaptureFixture[str], request_id: str = "request-1"
) -> Invocation:
    """Invoke a function; what it writes to standard output is its log."""
    capsys.readouterr()
    answer = handler_of(function)(event, Context(aws_request_id=request_id))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return Invocation(answer, lines)
