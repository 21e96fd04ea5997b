"""Dead letters on AWS: how push buries a message, lists what is buried, and sends it again.

A dead letter lies in two places: in the dead-letter queue, where the console shows it and redrives it, and in the bucket,
which keeps it longer and tells why it died. What the queue itself moved, because push broke off each time, is found in
the queue and put into the bucket too.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.aws.queues import ATTEMPTS, ENTRIES_IN_ONE_CALL
from msupply_dhis2.aws.records import ATTEMPT_ID
from msupply_dhis2.domain.batch import Batch, BatchError, decode
from msupply_dhis2.domain.message import Message
from msupply_dhis2.errors import AwsError, EventError
from msupply_dhis2.state.dead_letters.letter import (
    BROKE_OFF,
    FOLDER,
    NOT_UNDERSTOOD,
    UNREADABLE,
    DeadLetter,
    Listed,
    listed,
    place_of,
)
from msupply_dhis2.state.dead_letters.store import DeadLetterStore, NoDeadLetterError
from msupply_dhis2.state.message import Death
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef, MessageTypeDef

_DEAD_HIDDEN_SECONDS = 120
"""A dead letter that is looked at is hidden so long, so that it is seen once in one search: no longer, because of an
alarm that tells of what can be seen there, and would take what is left hidden for gone."""

_WAIT_SECONDS = 1
"""Without waiting a queue may say that it is empty though it is not."""

_LAST_SECONDS = 20.0
"""Nothing new is begun with less time left."""

_LAST_SECONDS_TO_SHOW = 5.0
"""With less time left what is hidden is left to be seen again by itself."""

_MOST_FAULTS = 20
"""Of what could not be looked at so much is told in full."""

_MOST_REASON = 2_000
"""Characters of a reason that go with the message; the bucket has all of it."""


class DeadLetterEvent(BaseModel):
    """What push can be asked about dead letters.

    Attributes
    ----------
    dead_letters
        ``list`` or ``redrive`` (send again).
    run, reason
        Only those of this run; only those with these words in what they died of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dead_letters: Literal["list", "redrive"]
    run: str | None = Field(default=None, min_length=1)
    reason: str | None = Field(default=None, min_length=1)


class DeadLetterAnswer(BaseModel):
    """What push answers.

    Attributes
    ----------
    message
        A sentence.
    letters
        What lies there, by run and reason; of a redrive what was sent again.
    is_all
        Whether there was time for all of them.
    """

    model_config = ConfigDict(frozen=True)

    message: str
    letters: tuple[Listed, ...] = ()
    is_all: bool = True


def parse_dead_letter_event(event: object) -> DeadLetterEvent:
    """Read an event.

    Raises
    ------
    EventError
        It is none; the fields that are wrong are named.
    """
    try:
        return DeadLetterEvent.model_validate(event)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError(
        f'Push cannot do what the event asks for: {faults}. It may be {{"dead_letters": "list"}} or '
        '{"dead_letters": "redrive"}, with "run": "RUN-ID" or "reason": "WORDS" to choose some of them.'
    )


class FailedBatches:
    """The dead letters of push.

    Parameters
    ----------
    client, queue_url, dead_letter_queue_url
        The queues.
    store, runs
        Where dead letters are kept, and counted.
    seconds_left
        How much time there is.
    """

    def __init__(
        self,
        client: "SQSClient",
        queue_url: str,
        dead_letter_queue_url: str,
        store: DeadLetterStore,
        runs: Runs,
        seconds_left: Callable[[], float],
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._store = store
        self._runs = runs
        self._seconds_left = seconds_left
        self.faults: list[str] = []
        """What could not be looked at, a sentence each; the others were."""

    def bury(self, body: str, batch: Batch | None, attempt_id: str, death: Death) -> DeadLetter:
        """Move a message over: first into the bucket, then into the queue, then it is counted.

        Where something breaks off in between the message comes again, and is moved again into the same place.
        """
        letter = self._keep(body, batch, attempt_id, death)
        with aws_faults("putting a message into the dead-letter queue", self._client):
            self._client.send_message(
                QueueUrl=self._dead_letter_queue_url, MessageBody=body, MessageAttributes=_attributes(letter)
            )
        self._count(letter, batch, death)
        return letter

    def _keep(self, body: str, batch: Batch | None, attempt_id: str, death: Death) -> DeadLetter:
        values = 0
        if batch is not None:
            message = Message(batch.batch_id, attempt_id, len(batch.rows))
            values = len(batch.rows) - len(self._runs.read(message, death.at).settled)
        letter = DeadLetter(
            body=body,
            attempt_id=attempt_id,
            run_id=batch.run_id if batch else UNREADABLE,
            batch_id=batch.batch_id if batch else _id_of_unreadable(body),
            values=values,
            reason=death.reason,
            status=death.status,
            died_at=death.at,
        )
        self._store.keep(letter)
        return letter

    def _count(self, letter: DeadLetter, batch: Batch | None, death: Death) -> None:
        if batch is not None:
            message = Message(batch.batch_id, letter.attempt_id, len(batch.rows))
            self._runs.mark_dead(message, self._runs.read(message, death.at), death)

    def has_come_back(self, message: Message) -> None:
        """Forget the copy of a dead letter whose message is on the queue again."""
        self._store.forget(f"dead-letters/{message.run_id}/{message.name}.json")

    def answer(self, event: DeadLetterEvent) -> DeadLetterAnswer:
        """List dead letters, or send them again."""
        collected = self.collect()
        if event.dead_letters == "list":
            return self._list(event, is_all=collected)
        return self._redrive(event, is_all=collected)

    def collect(self) -> bool:
        """Take what the queue itself has moved over into the bucket, and count it; take away what arrived after all.

        Returns
        -------
        bool
            Whether there was time for all of it.
        """
        for message in self._search(self._dead_letter_queue_url):
            if message is None:
                return False
            with self._telling(message):
                self._collect(message)
        return True

    def _collect(self, message: "MessageTypeDef") -> None:
        if not self._is_in_its_place(message):
            if _attribute(message, "run_id") == UNREADABLE:
                self._move(message, self._dead_letter_queue_url, NOT_UNDERSTOOD, "NotUnderstood")
                unreadable = _id_of_unreadable(str(message["Body"]))
                self._store.forget(place_of(UNREADABLE, unreadable, _attempt_id(message)))
            else:
                self._move(message, self._dead_letter_queue_url, BROKE_OFF, "BrokeOff")

    @contextmanager
    def _telling(self, message: "MessageTypeDef") -> Iterator[None]:
        """Tell of a message that cannot be worked, and go on with the others."""
        try:
            yield
        except AwsError as error:
            self.faults.append(f"The message {message['MessageId']} was left where it is. {error}")

    def _is_in_its_place(self, message: "MessageTypeDef") -> bool:
        """Return whether a message of the dead-letter queue need not be moved; one without a value to send is deleted."""
        has_reason = bool(_attribute(message, "reason"))
        try:
            batch = decode(str(message["Body"]))
        except BatchError:
            return has_reason
        known = Message(batch.batch_id, _attempt_id(message), len(batch.rows))
        delivery_state = self._runs.read(known, datetime.now(UTC))
        if len(delivery_state.settled) == known.values:
            # It was delivered once more after it had died, or another copy of it was.
            self.has_come_back(known)
            self._delete(message, self._dead_letter_queue_url)
            return True
        # The reason may be that of an earlier death, after which it was sent again.
        return has_reason and delivery_state.death is not None

    def _move(self, message: "MessageTypeDef", queue_url: str, reason: str, status: str) -> int:
        """Bury a message that was found on a queue, and give how many of its values had no fate."""
        body = str(message["Body"])
        attempt_id = _attempt_id(message)
        death = Death(reason, status, datetime.now(UTC))
        try:
            batch = decode(body)
        except BatchError as error:
            batch, death = None, Death(str(error), "BatchError", datetime.now(UTC))
        letter = self.bury(body, batch, attempt_id, death)
        self._delete(message, queue_url)
        return letter.values

    def _list(self, event: DeadLetterEvent, *, is_all: bool) -> DeadLetterAnswer:
        letters: list[DeadLetter] = []
        for letter in self._kept(event):
            if letter is None:
                is_all = False
                break
            letters.append(letter.model_copy(update={"body": ""}))
        groups = listed(letters)
        if not groups:
            return DeadLetterAnswer(
                message=f"There are no dead letters{_chosen(event)}.{self._faults_said()}", is_all=is_all
            )
        values = sum(group.values for group in groups)
        lines = "\n".join(f"- {group.sentence()}" for group in groups)
        what_to_do = []
        if any(group.can_be_sent for group in groups):
            what_to_do.append(
                'Mend the causes, then send them again: invoke push with {"dead_letters": "redrive"} (make redrive).'
            )
        if not all(group.can_be_sent for group in groups):
            what_to_do.append(self._about_unreadable())
        return DeadLetterAnswer(
            message=f"{count(len(letters), 'dead letter')} with {count(values, 'value')}{_chosen(event)}:\n{lines}\n"
            f"{' '.join(what_to_do)}{self._faults_said()}{_more(is_all=is_all)}",
            letters=groups,
            is_all=is_all,
        )

    def _redrive(self, event: DeadLetterEvent, *, is_all: bool) -> DeadLetterAnswer:
        sent: list[DeadLetter] = []
        unreadable = 0
        for letter in self._kept(event):
            if letter is None:
                is_all = False
                break
            if not letter.can_be_sent:
                unreadable += 1
                continue
            with aws_faults("putting a dead letter on the queue again", self._client):
                self._client.send_message(
                    QueueUrl=self._queue_url,
                    MessageBody=letter.body,
                    MessageAttributes={ATTEMPT_ID: {"DataType": "String", "StringValue": letter.attempt_id}},
                )
            # Push takes the same sending for the same message: sent twice, it is worked and counted once.
            self._store.forget(letter.key)
            sent.append(letter.model_copy(update={"body": ""}))
        self._clear({letter.attempt_id for letter in sent})
        if sent:
            message = (
                f"{count(len(sent), 'dead letter')} with {count(sum(letter.values for letter in sent), 'value')}"
                f"{_chosen(event)} sent again: the log of push tells what becomes of them."
            )
        else:
            message = f"There are no dead letters{_chosen(event)} that could be sent again."
        if unreadable:
            message += f" Left where they are: {count(unreadable, 'message')}. {self._about_unreadable()}"
        return DeadLetterAnswer(
            message=f"{message}{self._faults_said()}{_more(is_all=is_all)}",
            letters=listed(sent),
            is_all=is_all,
        )

    def _faults_said(self) -> str:
        said = "".join(f"\n{fault}" for fault in self.faults[:_MOST_FAULTS])
        more = len(self.faults) - _MOST_FAULTS
        return f"{said}\nAnd {more:,} more like these." if more > 0 else said

    def _about_unreadable(self) -> str:
        name = self._dead_letter_queue_url.rpartition("/")[2]
        return (
            "What is unreadable cannot be sent. Deploy the version that wrote it; or compute again what is missing in DHIS2, "
            f"and delete it in the console (SQS → {name} → Send and receive messages) and in the bucket "
            f"(S3 → {FOLDER}{UNREADABLE}/)."
        )

    def _kept(self, event: DeadLetterEvent) -> Iterator[DeadLetter | None]:
        """Yield the dead letters that are meant; ``None`` where the time is over."""
        for key in list(self._store.keys(event.run)):
            if self._seconds_left() < _LAST_SECONDS:
                yield None
                return
            try:
                letter = self._store.read(key)
            except NoDeadLetterError as error:
                self.faults.append(str(error))
                continue
            if letter is not None and letter.is_meant(event.run, event.reason):
                yield letter

    def _clear(self, attempt_ids: set[str]) -> None:
        """Take messages off the dead-letter queue that are on the other one again. Those that stay do no harm."""
        if not attempt_ids:
            return
        for message in self._search(self._dead_letter_queue_url):
            if message is None:
                return
            if _attribute(message, ATTEMPT_ID) in attempt_ids:
                self._delete(message, self._dead_letter_queue_url)

    def _search(self, queue_url: str) -> "Iterator[MessageTypeDef | None]":
        """Yield each message of a queue once, and let all be seen again; ``None``: that was not all of them.

        The search ends early where the time is over, and where a message comes a second time: then those that were looked
        at first are not hidden any more, and it would go round in a circle.
        """
        handles: dict[str, str] = {}
        try:
            while True:
                if self._seconds_left() < _LAST_SECONDS:
                    yield None
                    return
                with aws_faults(f"looking into the queue {queue_url}", self._client):
                    answer = self._client.receive_message(
                        QueueUrl=queue_url,
                        MaxNumberOfMessages=10,
                        MessageAttributeNames=["All"],
                        MessageSystemAttributeNames=["SentTimestamp"],
                        VisibilityTimeout=_DEAD_HIDDEN_SECONDS,
                        WaitTimeSeconds=_WAIT_SECONDS,
                    )
                messages = answer.get("Messages", [])
                if not messages:
                    return
                new = [message for message in messages if str(message["MessageId"]) not in handles]
                # Of one that came again the last handle is the one that holds.
                handles |= {str(message["MessageId"]): str(message["ReceiptHandle"]) for message in messages}
                yield from new
                if len(new) < len(messages):
                    yield None
                    return
        finally:
            self._show(handles.values(), queue_url)

    def _show(self, handles: Iterable[str], queue_url: str) -> None:
        """Let messages be seen again at once, while there is time: after a while they are by themselves."""
        for some in batched(handles, ENTRIES_IN_ONE_CALL, strict=False):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for place, handle in enumerate(some)
            ]
            for _ in range(ATTEMPTS):
                if not entries:
                    break
                if self._seconds_left() < _LAST_SECONDS_TO_SHOW:
                    return
                try:
                    answer = self._client.change_message_visibility_batch(QueueUrl=queue_url, Entries=entries)
                except (BotoCoreError, ClientError):
                    # Tried several times by the client itself: it would take as long for each of the others.
                    return
                # What was deleted meanwhile cannot be shown, and that is no fault of the queue.
                failed = {each["Id"] for each in answer.get("Failed", ()) if not each["SenderFault"]}
                entries = [entry for entry in entries if entry["Id"] in failed]

    def _delete(self, message: "MessageTypeDef", queue_url: str) -> None:
        with aws_faults(f"taking a message off the queue {queue_url}", self._client):
            self._client.delete_message(QueueUrl=queue_url, ReceiptHandle=str(message["ReceiptHandle"]))


def _attribute(message: "MessageTypeDef", name: str) -> str:
    attribute = message.get("MessageAttributes", {}).get(name)
    return "" if attribute is None else str(attribute.get("StringValue", ""))


def _attempt_id(message: "MessageTypeDef") -> str:
    return _attribute(message, ATTEMPT_ID) or str(message["MessageId"])


def _id_of_unreadable(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _attributes(letter: DeadLetter) -> dict[str, Any]:
    said = {
        ATTEMPT_ID: letter.attempt_id,
        "reason": letter.reason[:_MOST_REASON],
        "status": letter.status,
        "run_id": letter.run_id,
        "died_at": letter.died_at.isoformat(timespec="seconds"),
    }
    return {name: {"DataType": "String", "StringValue": text} for name, text in said.items()}


def _chosen(event: DeadLetterEvent) -> str:
    of_run = f" of the run {event.run}" if event.run else ""
    because = f' with "{event.reason}" in what they died of' if event.reason else ""
    return f"{of_run}{because}"


def _more(*, is_all: bool) -> str:
    return "" if is_all else " There was no time for all of them: invoke push with the same event again."
