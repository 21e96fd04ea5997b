"""Dead letters: messages that could not be brought to DHIS2, in the dead-letter queue and nowhere else.

Its reason, status and run are attributes; its row in the table of runs holds the reason too, and the run's row counts its
values. A message is sent before it is deleted, and push takes two copies for the same message: so, whatever breaks off,
nothing is lost, and nothing counted twice.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, NamedTuple

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.aws.queues import ATTEMPT_ID, ENTRIES_IN_ONE_CALL, depth, send, visible_and_hidden
from msupply_dhis2.domain.batch import Batch, Message, decode
from msupply_dhis2.errors import AwsError, AwsRefusedError, BatchError, DamagedRowError
from msupply_dhis2.state.message import DeadLetterReason, DeliveryState
from msupply_dhis2.state.runs import Runs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

KEPT_FOR = timedelta(days=14)
"""By the dead-letter queue (``template.yaml``), the longest that SQS can."""

UNREADABLE = "unreadable"
"""In place of the run's id, of a message that is no batch."""

BROKE_OFF = (
    "Push broke off each time it was given this message (it ran out of time or memory), and could not say why. Look at "
    "the log of push for REPORT lines with this run's id before them; a smaller No. of items per payload may help."
)
NOT_UNDERSTOOD = "It was delivered to another version of msupply-dhis2, which did not understand it. This one does: send it again."

_HIDDEN = timedelta(minutes=15)
"""What is looked at is hidden as long as any function runs, so that none is seen twice."""

_WAIT_SECONDS = 1
"""Without waiting a queue may say that it is empty though it is not."""

_LAST_SECONDS = 20.0
"""Nothing new is begun with less time left."""

_MOST_REASON = 2_000
"""Characters of a reason that go with the message; its row has all of it."""


class DeadLetter(NamedTuple):
    """A message's run, or ``unreadable``; why it is a dead letter; how many of its values have no outcome."""

    run_id: str
    reason: DeadLetterReason
    values: int


@dataclass(slots=True)
class Walk:
    """What a walk through the queue of dead letters did.

    ``unreadable`` messages cannot be sent; ``faults`` tell, a sentence each, what could not be looked at. ``copies`` has the
    copy of each message, by its name, that the queue keeps. The walk ``is_all`` where every message of the queue was looked at.
    """

    sent: list[DeadLetter] = field(default_factory=list)
    expired: list[DeadLetter] = field(default_factory=list)
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead-letter queue of push, and the rows that count what lies there; ``seconds_left`` tells how much time there is."""

    client: "SQSClient"
    queue_url: str
    dead_letter_queue_url: str
    runs: Runs
    seconds_left: Callable[[], float]

    @property
    def name(self) -> str:
        """The queue's name, as the console shows it."""
        return self.dead_letter_queue_url.rpartition("/")[2]

    def dead_letter(self, body: str, batch: Batch | None, attempt_id: str, reason: DeadLetterReason) -> str:
        """Send a message to the dead-letter queue and count it; return the id of the copy there.

        Where something breaks off in between, the message comes again, and so does this.
        """
        message = _message(body, batch, attempt_id)
        before = self.runs.read(message, datetime.now(UTC))
        about = {"reason": reason.reason[:_MOST_REASON], "status": reason.status, "run_id": message.run_id}
        sent = send(self.client, self.dead_letter_queue_url, body, attempt_id=attempt_id, **about)
        self.runs.change(message, before, lambda state: state.dead(reason))
        return sent

    def listed(self, since: datetime) -> tuple[list[DeadLetter], list[str]]:
        """Return what the table tells of dead letters since an instant, and a sentence about each row that is damaged."""
        rows, damaged = self.runs.dead_letters(since)
        return [letter for row in rows if (letter := _letter(*row)) is not None], _about_damaged(damaged)

    def depth(self) -> int:
        """Return how many messages the queue has, by its own count."""
        return depth(self.client, self.dead_letter_queue_url)

    def walk(self, now: datetime, is_chosen: Callable[[str, DeadLetterReason], bool] | None = None) -> Walk:
        """Go through the queue once.

        What is chosen, by run and reason, is sent again. What SQS moved there by itself gets its reason, and is sent
        anew, which restarts its 14 days. What has arrived after all is deleted. What the queue no longer has is expired.
        """
        walk = Walk()
        # What another walk broke off with is hidden for a while, and is not looked at.
        _, hidden = visible_and_hidden(self.client, self.dead_letter_queue_url)
        handles: dict[str, str] = {}
        try:
            for message in self._receive_all(walk):
                handles[message["MessageId"]] = message["ReceiptHandle"]
                try:
                    if self._visit(message, walk, is_chosen):
                        self._delete(message)
                        del handles[message["MessageId"]]
                except (AwsRefusedError, DamagedRowError) as error:
                    # Because of its row or its size; the others can be worked.
                    walk.faults.append(f"The message {message['MessageId']} was not moved. {error}")
        finally:
            self._show(handles.values())
        walk.is_all = walk.is_all and not hidden
        if walk.is_all:
            self._expire(now, walk)
        return walk

    def _visit(
        self,
        received: "MessageTypeDef",
        walk: Walk,
        is_chosen: Callable[[str, DeadLetterReason], bool] | None,
    ) -> bool:
        """Do with a message what is to be done; return whether it may be deleted."""
        body, attempt_id = received["Body"], _attribute(received, ATTEMPT_ID) or received["MessageId"]
        batch, reason = _read(received)
        message, now = _message(body, batch, attempt_id), datetime.now(UTC)
        if walk.copies.setdefault(message.name, received["MessageId"]) != received["MessageId"]:
            return True
        before = self.runs.read(message, now)
        if batch is not None and len(before.settled) == len(batch.values):
            # It was delivered once more after it had become a dead letter, or another copy of it was.
            return True
        if before.dead_letter is not None:
            reason = replace(before.dead_letter, is_expired=False)
        if batch is not None and _attribute(received, "run_id") == UNREADABLE:
            unreadable = _message(body, None, attempt_id)
            self.runs.change(unreadable, self.runs.read(unreadable, now), DeliveryState.requeued)
        if batch is not None and is_chosen is not None and is_chosen(message.run_id, reason):
            send(self.client, self.queue_url, body, attempt_id=attempt_id)
            dead = self.runs.change(message, before, lambda state: state.dead(reason))
            self.runs.change(message, dead, DeliveryState.requeued)
            walk.sent.append(DeadLetter(message.run_id, reason, message.values - len(before.settled)))
            return True
        if before.counter == "dead" and _attribute(received, "reason"):
            walk.unreadable += batch is None
            return False
        walk.copies[message.name] = self.dead_letter(body, batch, attempt_id, reason)
        return True

    def _expire(self, now: datetime, walk: Walk) -> None:
        """Note of all that the queue no longer has that it is expired.

        What is younger than the queue's 14 days may be on the queue of batches: the console sends dead letters again too.
        """
        rows, damaged = self.runs.dead_letters(datetime.fromtimestamp(0, UTC))
        walk.faults += _about_damaged(damaged)
        may_be_sent_again = depth(self.client, self.queue_url) > 0
        for message, before in rows:
            letter = _letter(message, before)
            if letter is None or letter.reason.is_expired or message.name in walk.copies:
                continue
            age = now - letter.reason.at
            if age > KEPT_FOR or (age > _HIDDEN and not may_be_sent_again):
                expired = _letter(message, self.runs.change(message, before, DeliveryState.expired))
                if expired is not None and expired.reason.is_expired:
                    walk.expired.append(expired)

    def _receive_all(self, walk: Walk) -> "Iterator[MessageTypeDef]":
        while self.seconds_left() > _LAST_SECONDS:
            with aws_faults("looking into the dead-letter queue", self.client):
                answer = self.client.receive_message(
                    QueueUrl=self.dead_letter_queue_url,
                    MaxNumberOfMessages=ENTRIES_IN_ONE_CALL,
                    MessageAttributeNames=["All"],
                    VisibilityTimeout=round(_HIDDEN.total_seconds()),
                    WaitTimeSeconds=_WAIT_SECONDS,
                )
            if not answer.get("Messages"):
                walk.is_all = True
                return
            yield from answer["Messages"]

    def _show(self, handles: Iterable[str]) -> None:
        """Let messages be seen again at once, while there is time: after a while they are by themselves."""
        for some in batched(handles, ENTRIES_IN_ONE_CALL, strict=False):
            if self.seconds_left() <= 0:
                return
            with suppress(AwsError), aws_faults("letting dead letters be seen again", self.client):
                self.client.change_message_visibility_batch(
                    QueueUrl=self.dead_letter_queue_url,
                    Entries=[
                        {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for index, handle in enumerate(some)
                    ],
                )

    def _delete(self, message: "MessageTypeDef") -> None:
        with aws_faults("taking a message off the dead-letter queue", self.client):
            handle = message["ReceiptHandle"]
            self.client.delete_message(QueueUrl=self.dead_letter_queue_url, ReceiptHandle=handle)


def _read(received: "MessageTypeDef") -> tuple[Batch | None, DeadLetterReason]:
    """Read a message of the queue, and why it is there where its row does not tell."""
    now = datetime.now(UTC)
    try:
        batch = decode(received["Body"])
    except BatchError as error:
        return None, DeadLetterReason(str(error), type(error).__name__, now)
    if _attribute(received, "run_id") == UNREADABLE:
        return batch, DeadLetterReason(NOT_UNDERSTOOD, "NotUnderstood", now)
    return batch, DeadLetterReason(BROKE_OFF, "BrokeOff", now)


def _about_damaged(rows: Iterable[str]) -> list[str]:
    return [
        f"The row {row} in the table of runs is damaged. Delete it, then let the watchdog look (make watchdog)."
        for row in rows
    ]


def _letter(message: Message, state: DeliveryState) -> DeadLetter | None:
    """Return a dead letter; ``None`` where the message is none, or another copy of it has arrived."""
    values = message.values - len(state.settled)
    is_one = values > 0 or message.run_id == UNREADABLE
    return DeadLetter(message.run_id, state.dead_letter, values) if state.dead_letter and is_one else None


def _message(body: str, batch: Batch | None, attempt_id: str) -> Message:
    if batch is not None:
        return Message(batch.batch_id, attempt_id, len(batch.values))
    return Message(f"{UNREADABLE}-{hashlib.sha256(body.encode()).hexdigest()[:16]}", attempt_id, 0)


def _attribute(received: "MessageTypeDef", name: str) -> str:
    attribute = received.get("MessageAttributes", {}).get(name)
    return "" if attribute is None else str(attribute.get("StringValue", ""))
