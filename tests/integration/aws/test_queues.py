"""Batches onto the queue."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from msupply_dhis2.aws.queues import BatchQueue
from msupply_dhis2.domain.batch import MAXIMUM_MESSAGE_BYTES, Batch, Message, decode
from msupply_dhis2.errors import AwsBusyError
from tests.conftest import Aws
from tests.support.batches import batch_of, settings_of, value_of


def batch(number: int, values: int = 1) -> Batch:
    """Return a batch with an id that can be foreseen."""
    made = batch_of([value_of(f"DE{number}")] * values, settings_of())
    return replace(made, batch_id=f"run-{number}", body=made.body.replace(made.batch_id, f"run-{number}"))


def nobody_counts(messages: Sequence[Message]) -> None:
    """Take messages that no run is told of."""


class FailingQueue:
    """A queue that refuses one message a number of times, which moto cannot do."""

    def __init__(self, aws: Aws, refusals: int) -> None:
        self.meta = aws.sqs.meta
        self._refusals = refusals
        self.taken: list[str] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[dict[str, str]]) -> dict[str, Any]:  # noqa: ARG002, N803 boto3's names
        refused = Entries[0]["Id"] if self._refusals else None
        self._refusals -= bool(refused)
        self.taken += [entry["MessageBody"] for entry in Entries if entry["Id"] != refused]
        failure = {"Id": refused, "Code": "InternalError", "Message": "try again", "SenderFault": False}
        return {"Failed": [failure] if refused else []}


def test_batches_arrive_once(aws: Aws) -> None:
    with BatchQueue(aws.sqs, aws.queue_url, nobody_counts) as queue:
        for number in range(23):
            queue.send(batch(number))
    arrived = sorted(decode(str(message["Body"])).batch_id for message in aws.messages())
    assert arrived == sorted(f"run-{number}" for number in range(23))


def test_large_batches(aws: Aws) -> None:
    large = [batch(number, values=40_000) for number in range(4)]
    sizes = [len(one.body) for one in large]
    assert sum(sizes) > MAXIMUM_MESSAGE_BYTES > max(sizes)
    with BatchQueue(aws.sqs, aws.queue_url, nobody_counts) as queue:
        for one in large:
            queue.send(one)
    assert len(aws.messages()) == 4


def test_stops_after_fault(aws: Aws) -> None:
    class FaultError(Exception):
        pass

    def fail() -> None:
        with BatchQueue(aws.sqs, aws.queue_url, nobody_counts) as queue:
            queue.send(batch(1))
            raise FaultError

    with pytest.raises(FaultError):
        fail()
    assert aws.messages() == []


def test_refused_message_only(aws: Aws) -> None:
    failing = FailingQueue(aws, refusals=2)
    with BatchQueue(failing, "url", nobody_counts) as queue:  # type: ignore[arg-type]
        for number in range(3):
            queue.send(batch(number))
    assert sorted(decode(body).batch_id for body in failing.taken) == ["run-0", "run-1", "run-2"]


def test_counted_when_queued(aws: Aws) -> None:
    counted: list[Message] = []
    with BatchQueue(FailingQueue(aws, refusals=2), "url", counted.extend) as queue:  # type: ignore[arg-type]
        for number in range(3):
            queue.send(batch(number, values=number + 1))
        assert counted == []
    assert sorted((message.batch_id, message.values) for message in counted) == [
        ("run-0", 1),
        ("run-1", 2),
        ("run-2", 3),
    ]
    assert len({message.attempt_id for message in counted}) == 3

    counted.clear()
    queue = BatchQueue(FailingQueue(aws, refusals=99), "url", counted.extend)  # type: ignore[arg-type]
    queue.send(batch(1))
    queue.send(batch(2))
    with pytest.raises(AwsBusyError):
        queue.flush()
    assert [message.batch_id for message in counted] == ["run-2"]


def test_refused_again_and_again(aws: Aws) -> None:
    queue = BatchQueue(FailingQueue(aws, refusals=99), "url", nobody_counts)  # type: ignore[arg-type]
    queue.send(batch(1))
    with pytest.raises(AwsBusyError, match=r"1 batches: try again\. Invoke compute again"):
        queue.flush()
