"""Invoking a function's handler, and the events that AWS sends."""

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest

from msupply_dhis2.domain.log_record import LogEvent
from sandbox.handlers import Context, delivery, handler_of
from tests.support.rights import only_with_rights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from tests.conftest import Aws

__all__ = [
    "Context",
    "Invocation",
    "Pushed",
    "deliver",
    "delivery",
    "handler_of",
    "invoke",
    "put_copies",
    "show_again",
]


@dataclass
class Invocation:
    """What a function answered, and the lines that it wrote to its log."""

    answer: dict[str, Any]
    lines: list[dict[str, Any]]

    def said(self, words: str) -> list[dict[str, Any]]:
        """Return the log lines whose message holds these words."""
        return [line for line in self.lines if words in str(line.get("message", ""))]

    def metric(self, name: str) -> float:
        """Sum a metric over what was written."""
        return sum(sum(line[name]) for line in self.lines if "_aws" in line and name in line)


def invoke(
    function: str,
    event: object,
    capsys: pytest.CaptureFixture[str],
    request_id: str = "request-1",
    seconds_left: float = 300,
) -> Invocation:
    """Invoke a function; what it writes to standard output is its log."""
    capsys.readouterr()
    name = f"stack-{function.replace('_', '-')}"
    context = Context(function_name=name, aws_request_id=request_id, seconds_left=seconds_left)
    with pytest.MonkeyPatch.context() as environment:
        # Powertools keeps a logger, with the standard output of its time, for each service name.
        environment.setenv("POWERTOOLS_SERVICE_NAME", f"{function}-{uuid4()}")
        with only_with_rights_of(function):
            answer = handler_of(function)(event, context)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        assert "_aws" in line or line.get("event") in LogEvent, f"a line without an event: {line}"
    return Invocation(answer, lines)


@dataclass
class Pushed(Invocation):
    """An invocation of push with messages of the queue, and the outcomes it tells."""

    messages: "Sequence[MessageTypeDef]"

    @property
    def again(self) -> list[str]:
        """The messages that are to be delivered again."""
        return [failure["itemIdentifier"] for failure in self.answer["batchItemFailures"]]

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return what the one line about a batch says: sent, stored, unchanged, rejected, unaccounted."""
        (line,) = self.said("Batch: ")
        return line["sent"], line["stored"], line["unchanged"], line["rejected"], line["unaccounted"]

    def rejected(self) -> list[dict[str, Any]]:
        """Return the lines about single values that were rejected."""
        return self.said(": rejected. ")


def deliver(aws: "Aws", capsys: pytest.CaptureFixture[str]) -> Pushed:
    """Hand all messages that can be seen on the queue to push, and take those it finishes off the queue."""
    messages = aws.messages()
    invocation = invoke("push", delivery(messages, aws.queue_arn), capsys)
    pushed = Pushed(invocation.answer, invocation.lines, messages)
    for message in messages:
        if message["MessageId"] not in pushed.again:
            aws.sqs.delete_message(QueueUrl=aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return pushed


def show_again(aws: "Aws", pushed: Pushed) -> None:
    """Let the messages that push gave back be seen at once, as if their wait were over."""
    for message in pushed.messages:
        if message["MessageId"] in pushed.again:
            aws.sqs.change_message_visibility(
                QueueUrl=aws.queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )


def put_copies(aws: "Aws", copies: int) -> None:
    """Have so many messages wait, of the same batch, in place of those that do."""
    messages = aws.messages()
    for message in messages:
        aws.sqs.delete_message(QueueUrl=aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    for number in range(copies):
        aws.sqs.send_message(
            QueueUrl=aws.queue_url,
            MessageBody=messages[0]["Body"],
            MessageAttributes={"attempt_id": {"DataType": "String", "StringValue": f"copy-{number}"}},
        )


def move_to_dead_letters(aws: "Aws") -> None:
    """Do what the queue itself does with messages at which push broke off each time."""
    for message in aws.messages():
        aws.sqs.send_message(
            QueueUrl=aws.dead_letter_queue_url,
            MessageBody=str(message["Body"]),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": attribute["StringValue"]}
                for name, attribute in message["MessageAttributes"].items()
            },
        )
        aws.sqs.delete_message(QueueUrl=aws.queue_url, ReceiptHandle=message["ReceiptHandle"])


class ComputeAnswers:
    """Stands in for Lambda, which moto runs in Docker only: the invocation of compute and its answer."""

    def __init__(self, answer: object, *, function_error: bool = False) -> None:
        self.meta = boto3.client("lambda").meta
        self._answer = answer
        self._function_error = function_error
        self.invoked: list[tuple[str, object]] = []

    def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 boto3's names
        """Answer as Lambda does."""
        self.invoked.append((FunctionName, json.loads(Payload)))
        answer: dict[str, Any] = {"Payload": io.BytesIO(json.dumps(self._answer).encode())}
        return {**answer, "FunctionError": "Unhandled"} if self._function_error else answer
