"""Queues: what Lambda hands a function from one, how long a message waits on one, and what is put onto one.

Powertools' own classes for a queue's event are not used: importing one loads those of every other service, which is an
eighth of a cold start.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import uuid4

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.domain.batch import MAXIMUM_MESSAGE_BYTES, Batch, Message
from msupply_dhis2.errors import AwsBusyError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

ATTEMPT_ID = "attempt_id"
"""The attribute of a message that tells it from the same batch put on the queue another time, which is sent anew.

The queue's own message id does not do: it changes when a dead letter is sent again.
"""

ENTRIES_IN_ONE_CALL = 10
ATTEMPTS = 3

FIRST_SECONDS = 30
LONGEST_SECONDS = 15 * 60
LONGEST_ASKED_FOR_SECONDS = 42_000
"""The queue hides a message for 12 hours at most, and counts from its delivery, push's own time included."""

_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A message of a queue, as one delivery of it, which is counted from 1.

    ``attempt_id`` tells which time it is that the message was put on the queue, which was at ``queued_at`` (aware); of one
    that was copied by hand it is the queue's own id.
    """

    message_id: str
    receipt_handle: str
    body: str
    delivery: int
    attempt_id: str
    queued_at: datetime


def is_from_a_queue(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an event is a delivery of messages."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    return (
        isinstance(records, list)
        and bool(records)
        and all(isinstance(record, Mapping) and record.get("eventSource") == "aws:sqs" for record in records)
    )


def queue_records(event: Mapping[str, Any]) -> list[QueueRecord]:
    """Read the messages of a queue's event."""
    return [
        QueueRecord(
            message_id=record["messageId"],
            receipt_handle=record["receiptHandle"],
            body=record["body"],
            delivery=int(record["attributes"].get("ApproximateReceiveCount") or 1),
            attempt_id=str(
                (record.get("messageAttributes") or {}).get(ATTEMPT_ID, {}).get("stringValue")
                or record["messageId"]
            ),
            queued_at=datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC),
        )
        for record in event["Records"]
    ]


def partial_response(again: Sequence[str]) -> dict[str, object]:
    """Return SQS's partial batch response: these messages, by id, are to be delivered again."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def wait_seconds(attempts: int, asked_for: float | None = None) -> int:
    """Return the seconds until a message that was tried so often is delivered again: about 30, 60, 120, …, at last 900.

    Where the server asked for a wait in seconds (``Retry-After``), that decides.
    """
    if asked_for is not None:
        return max(1, min(round(asked_for), LONGEST_ASKED_FOR_SECONDS))
    # The exponent is bounded too: after a thousand deliveries it would be a number of a hundred digits.
    return by_chance(min(FIRST_SECONDS * (1 << min(max(attempts, 1) - 1, 10)), LONGEST_SECONDS))


def by_chance(seconds: float, chance: Callable[[], float] = random.random) -> int:
    """Return a tenth more or less, so that messages that failed together do not come back together."""
    return round(seconds * (1 + _JITTER * (2 * chance() - 1)))


def put_back(client: "SQSClient", queue_url: str, receipt_handle: str, seconds: int) -> None:
    """Have a message that was not finished delivered again after so many seconds, not after the queue's own time-out."""
    asked = {"QueueUrl": queue_url, "ReceiptHandle": receipt_handle}
    with aws_faults("putting a message back", client):
        client.change_message_visibility(**asked, VisibilityTimeout=seconds)


def send(client: "SQSClient", queue_url: str, body: str, **attributes: str) -> str:
    """Put a message on a queue, and return its id; the attribute ``reason`` (no secret) tells why it is a dead letter."""
    with aws_faults("putting a message on a queue", client):
        given = _attributes(**attributes)
        sent = client.send_message(QueueUrl=queue_url, MessageBody=body, MessageAttributes=given)
    return sent["MessageId"]


def _attributes(**texts: str) -> "dict[str, MessageAttributeValueTypeDef]":
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def visible_and_hidden(client: "SQSClient", queue_url: str) -> tuple[int, int]:
    """Return about how many messages of a queue can be received, and how many wait between two deliveries."""
    names: tuple[QueueAttributeNameType, QueueAttributeNameType] = (
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    )
    with aws_faults("asking a queue how many messages it holds", client):
        attributes = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return int(attributes[names[0]]), int(attributes[names[1]])


def depth(client: "SQSClient", queue_url: str) -> int:
    """Return about how many messages a queue holds: those that wait between two deliveries are in flight for SQS."""
    return sum(visible_and_hidden(client, queue_url))


class BatchQueue(AbstractContextManager["BatchQueue"]):
    """Sends batches, several messages in a call; what is still held is sent when the context ends well.

    Otherwise nothing more is sent: the same run computed again makes the same batches. ``taken`` is given the messages that
    the queue has taken, so that they are counted.
    """

    def __init__(
        self, client: "SQSClient", queue_url: str, taken: Callable[[Sequence[Message]], None]
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._taken = taken
        self._held: list[tuple[Message, str]] = []
        self._held_bytes = 0

    def __exit__(self, kind: type[BaseException] | None, *_raised: object) -> None:
        if kind is None:
            self.flush()

    def send(self, batch: Batch) -> None:
        """Take a batch; it leaves with the next call."""
        body = batch.body
        attempt_id = batch.tracking.attempt_id if batch.tracking else uuid4().hex
        # A call may hold ten messages, and no more bytes than one message may.
        if len(self._held) == ENTRIES_IN_ONE_CALL or self._held_bytes + len(body) > MAXIMUM_MESSAGE_BYTES:
            self.flush()
        self._held.append((Message(batch.batch_id, attempt_id, len(batch.values)), body))
        # The attribute counts too, but its 45 bytes are well within what MAXIMUM_MESSAGE_BYTES leaves.
        self._held_bytes += len(body)

    def flush(self) -> None:
        """Send what is held; an AwsBusyError where the queue did not take a message, after three attempts."""
        waiting, taken = self._held, list[Message]()
        self._held, self._held_bytes = [], 0
        failed: dict[int, str] = {}
        for _ in range(ATTEMPTS):
            if not waiting:
                break
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {
                    "Id": str(index),
                    "MessageBody": body,
                    "MessageAttributes": _attributes(**{ATTEMPT_ID: message.attempt_id}),
                }
                for index, (message, body) in enumerate(waiting)
            ]
            with aws_faults("putting batches on the queue", self._client):
                answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            failed = {int(each["Id"]): each.get("Message", each["Code"]) for each in answer.get("Failed", ())}
            taken += [message for index, (message, _) in enumerate(waiting) if index not in failed]
            waiting = [waiting[index] for index in sorted(failed)]
        self._taken(taken)
        if waiting:
            raise AwsBusyError(
                f"The queue did not take {len(waiting)} batches: {'; '.join(dict.fromkeys(failed.values()))}. Invoke "
                "compute again with the same event: values that are in DHIS2 already stay as they are."
            )
