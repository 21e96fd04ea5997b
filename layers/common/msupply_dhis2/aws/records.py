"""What Lambda hands a function from a queue.

Powertools' own classes for this are not used: importing one loads those of every other service, which is an eighth
of a cold start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

ATTEMPT_ID = "attempt_id"
"""The attribute of a message that tells it from the same batch put on the queue another time.

A redelivery must not count again what was settled before, while the same run, computed again, is to be sent anew.
The queue's own message id does not do: it changes when a dead letter is sent again.
"""


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A message of a queue, as one delivery of it."""

    message_id: str
    receipt_handle: str
    body: str

    delivery: int
    """Which delivery it is, from 1."""

    attempt_id: str
    """Which time it is that the message was put on the queue; of one that was copied by hand the queue's own id."""

    queue_arn: str

    queued_at: datetime
    """When the message was put on the queue; aware."""


def is_from_a_queue(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an event is a delivery of messages."""
    if not isinstance(event, Mapping):
        return False
    records = event.get("Records")
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
            queue_arn=record["eventSourceARN"],
            queued_at=datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC),
        )
        for record in event["Records"]
    ]


def partial_response(again: Sequence[str]) -> dict[str, object]:
    """Return SQS's partial batch response: these messages, by id, are to be delivered again."""
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}
