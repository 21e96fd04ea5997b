"""Batches and shards onto their queues, and messages that cannot be delivered to the dead-letter queues."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.aws.records import ATTEMPT_ID
from msupply_dhis2.domain.batch import MAXIMUM_MESSAGE_BYTES, Batch, Message
from msupply_dhis2.errors import AwsBusyError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

ENTRIES_IN_ONE_CALL = 10
ATTEMPTS = 3


def put_back(client: "SQSClient", queue_url: str, receipt_handle: str, seconds: int) -> None:
    """Have a message that was not finished delivered again after so many seconds.

    Without this it would wait for the queue's own visibility time-out, which is there for invocations that break off.
    """
    with aws_faults("putting a message back", client):
        client.change_message_visibility(
            QueueUrl=queue_url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )


def send(client: "SQSClient", queue_url: str, body: str, **attributes: str) -> str:
    """Put a message on a queue, and return its id; the attribute ``reason`` (no secret) tells why it is a dead letter."""
    given: dict[str, MessageAttributeValueTypeDef] = {
        name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()
    }
    with aws_faults("putting a message on a queue", client):
        sent = client.send_message(QueueUrl=queue_url, MessageBody=body, MessageAttributes=given)
    return sent["MessageId"]


def depth(client: "SQSClient", queue_url: str) -> int:
    """Return about how many messages a queue holds: those that wait between two deliveries are in flight for SQS."""
    names: list[QueueAttributeNameType] = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    ]
    with aws_faults("asking a queue how many messages it holds", client):
        attributes = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


class BatchQueue:
    """Sends batches, several messages in a call; what is still held is sent when the context ends well.

    Where the context ends with an exception nothing more is sent: the same run computed again makes the same
    batches, and DHIS2 keeps one value for each key. ``taken`` is given the messages that the queue has taken, so that
    they are counted.
    """

    def __init__(
        self, client: "SQSClient", queue_url: str, taken: Callable[[Sequence[Message]], None]
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._taken = taken
        self._held: list[SendMessageBatchRequestEntryTypeDef] = []
        self._messages: list[Message] = []
        self._held_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()

    def send(self, batch: Batch) -> None:
        """Take a batch; it leaves with the next call."""
        body = batch.encoded()
        attempt_id = batch.tracking.attempt_id if batch.tracking else uuid4().hex
        # A call may hold ten messages, and no more bytes than one message may.
        if len(self._held) == ENTRIES_IN_ONE_CALL or self._held_bytes + len(body) > MAXIMUM_MESSAGE_BYTES:
            self.flush()
        self._held.append(
            {
                "Id": str(len(self._held)),
                "MessageBody": body,
                "MessageAttributes": {ATTEMPT_ID: {"DataType": "String", "StringValue": attempt_id}},
            }
        )
        self._messages.append(Message(batch.batch_id, attempt_id, len(batch.rows)))
        # The attribute counts too, but its 45 bytes are well within what MAXIMUM_MESSAGE_BYTES leaves.
        self._held_bytes += len(body)

    def flush(self) -> None:
        """Send what is held; an AwsBusyError where the queue did not take a message, after three attempts."""
        held, self._held, self._held_bytes = self._held, [], 0
        messages, self._messages = self._messages, []
        failed: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            if not held:
                break
            with aws_faults("putting batches on the queue", self._client):
                answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=held)
            failed = {
                failure["Id"]: failure.get("Message", failure["Code"]) for failure in answer.get("Failed", ())
            }
            held = [entry for entry in held if entry["Id"] in failed]
        waiting = {int(entry["Id"]) for entry in held}
        self._taken([message for place, message in enumerate(messages) if place not in waiting])
        if held:
            reasons = "; ".join(dict.fromkeys(failed.values()))
            raise AwsBusyError(
                f"The queue did not take {len(held)} batches: {reasons}. Invoke compute again with the same "
                "event: values that arrived already are only confirmed."
            )
