"""Push on AWS: messages from the queue in, the ones to try again out."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import queues
from msupply_dhis2.aws.environment import PushEnvironment
from msupply_dhis2.domain.batch import Batch, Message, decode
from msupply_dhis2.domain.reading import with_names
from msupply_dhis2.errors import (
    AwsError,
    BatchError,
    Dhis2AuthenticationError,
    Dhis2DownError,
    Dhis2TransientError,
    EventError,
    InFlightError,
    MsupplyDhis2Error,
)
from msupply_dhis2.handlers.invocation import (
    ERROR,
    WARNING,
    LogEvent,
    RunsInvocation,
    dead_letters_of,
    why_paused,
)
from msupply_dhis2.handlers.orders import carry_out
from msupply_dhis2.handlers.push_batch import BatchPush, forget_sessions
from msupply_dhis2.state.breaker import Breaker, State
from msupply_dhis2.state.message import DeadLetterReason
from msupply_dhis2.text import count

__all__ = ["MOST_FAILURES", "WAITS_FOR", "forget_sessions", "run"]

MOST_FAILURES = 12
"""With the growing waits two hours: a restart or an upgrade of DHIS2 is outlasted."""

WAITS_FOR = timedelta(days=10)
"""Of the 12 days that the queue keeps a message."""


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Push every message of an event, and return SQS's partial batch response; or do what a person asks, and answer."""
    push = RunsInvocation(PushEnvironment.read(), context, logger, metrics)
    if queues.is_from_a_queue(event):
        # Also where it is all of them: raising would make each message that is tried again an error of the function,
        # and hide the real ones.
        records = queues.queue_records(event)
        return queues.partial_response(
            [record.message_id for record in records if not _Delivery(push, record).process()]
        )
    try:
        return carry_out(with_names(event) if isinstance(event, Mapping) else {}, push)
    except EventError as error:
        push.log(LogEvent.INVOCATION_NOT_UNDERSTOOD, ERROR, str(error))
        push.count("EventsNotUnderstood", 1)
        raise


class _Delivery:
    """One message, delivered once."""

    def __init__(self, push: RunsInvocation[PushEnvironment], record: queues.QueueRecord) -> None:
        self._push = push
        self._record = record
        self._batch: Batch | None = None

    def process(self) -> bool:
        """Work the message, and return whether it is finished; otherwise it is to be delivered again."""
        push = self._push
        push.logger.append_keys(receive=str(self._record.delivery))
        trial = None
        try:
            asked = push.breakers.change(lambda breaker: breaker.tried(datetime.now(UTC)))
            if not asked.may_send:
                return self._keep_waiting(asked.after)
            trial = asked.after.trial_until
            batch = self._decode()
            if batch is not None:
                dead = BatchPush(push, batch, self._record).push(asked.after)
                if dead is None:
                    push.end_if_done(batch.run_id)
                else:
                    self._dead_letter(*dead)
        except MsupplyDhis2Error as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - told with its traceback
            # Nobody else would hear of it: the message is only given back.
            push.log(LogEvent.UNEXPECTED_FAULT, ERROR, "Push met a fault of its own.", exc_info=True)
            return self._failed(error)
        else:
            return True
        finally:
            if trial is not None:
                self._end_trial(trial)
            push.logger.remove_keys(["receive", "run_id", "batch_id", "user", "dhis2"])

    def _decode(self) -> Batch | None:
        """Read the message; one that is no batch goes to the dead letters."""
        try:
            self._batch = decode(self._record.body)
        except BatchError as error:
            self._dead_letter(str(error), type(error).__name__)
        else:
            self._push.logger.append_keys(run_id=self._batch.run_id, batch_id=self._batch.batch_id)
        return self._batch

    def _end_trial(self, trial: datetime) -> None:
        """Let another message be tried, where this one has shown nothing of DHIS2."""
        try:
            self._push.breakers.change(lambda breaker: breaker.trial_ended(trial))
        except AwsError as error:
            self._push.not_noted(
                f"It could not be noted that a message was tried. The next one follows later. {error}"
            )

    def _keep_waiting(self, breaker: Breaker) -> bool:
        """Put the message back while sending is paused; return whether it has waited for too long, and is a dead letter."""
        now = datetime.now(UTC)
        self._push.count_open_minutes(breaker, now)
        if (too_long := self._waited_too_long(now)) is not None:
            if self._batch is not None or self._decode():
                self._dead_letter(f"{why_paused(breaker)} {too_long}", "WaitedTooLong")
            return True
        self._hide(queues.by_chance(breaker.wait(now).total_seconds()))
        self._push.count("BatchesPutBack", 1)
        return False

    def _failed(self, error: Exception) -> bool:
        """Have the message delivered again, or make it a dead letter; return whether it is one."""
        push, batch, failures = self._push, self._batch, 0
        try:
            if isinstance(error, Dhis2AuthenticationError):
                return self._keep_waiting(push.breakers.read())
            now = datetime.now(UTC)
            if isinstance(error, Dhis2DownError):
                breaker = push.breakers.change(lambda each: each.failed(str(error), now)).after
                if breaker.state is not State.CLOSED:
                    forget_sessions()
                    return self._keep_waiting(breaker)
            elif batch is not None and not isinstance(error, InFlightError):
                message = Message(batch.batch_id, self._record.attempt_id, len(batch.values))
                failures = push.runs.note_failure(message, now)
            why = self._waited_too_long(now)
            if failures >= MOST_FAILURES:
                why = f"It failed {failures} times. It is not tried again automatically."
            if batch is not None and why is not None:
                self._dead_letter(f"{_said(error)} {why}", type(error).__name__)
                return True
        except MsupplyDhis2Error as fault:
            push.not_noted(f"The outcome of a message could not be noted yet. {fault}")
        self._put_back(error, failures)
        return False

    def _waited_too_long(self, now: datetime) -> str | None:
        waited = now - self._record.queued_at
        if waited <= WAITS_FOR:
            return None
        return f"It waited for {waited.days} days, and the queue keeps nothing for more than 12."

    def _put_back(self, error: Exception, failures: int) -> None:
        """Have the message delivered again after a while, and say so."""
        asked_for = error.retry_after if isinstance(error, Dhis2TransientError) else None
        if failures or asked_for is not None:
            wait = queues.wait_seconds(failures, asked_for)
        else:
            age = (datetime.now(UTC) - self._record.queued_at).total_seconds()
            wait = queues.by_chance(min(queues.LONGEST_SECONDS, max(queues.FIRST_SECONDS, age / 4)))
        is_set = self._hide(wait)
        when = f"in {wait:,} seconds" if is_set else "after the queue's own visibility time-out"
        self._push.count("BatchesToTryAgain", 1)
        waiting = len(self._batch.values) if self._batch else 0
        of = f" of {count(waiting, 'value')}" if self._batch else ""
        text = f"A message{of} goes back to the queue, to be tried again {when}: {_said(error)}"
        kind = type(error).__name__
        self._push.log(LogEvent.MESSAGE_PUT_BACK, WARNING, text, error=kind, waiting=waiting, wait=wait)

    def _hide(self, seconds: int) -> bool:
        return self._push.put_back(self._push.environment.queue_url, self._record, seconds)

    def _dead_letter(self, reason: str, status: str) -> None:
        push, body, attempt_id = self._push, self._record.body, self._record.attempt_id
        why = DeadLetterReason(reason, status, datetime.now(UTC))
        dead_letters_of(push).dead_letter(body, self._batch, attempt_id, why)
        push.count("BatchesDead", 1)
        push.log(
            LogEvent.MESSAGE_DEAD_LETTERED,
            ERROR,
            f"A message went to the dead letters. {reason} Fix the cause, then send it again: invoke push with "
            '{"dead_letters": "redrive"} (make redrive).',
        )
        if self._batch is not None:
            push.end_if_done(self._batch.run_id)


def _said(error: Exception) -> str:
    # Of a fault of push only the kind is told: what it is about may be a part of the login.
    known = isinstance(error, MsupplyDhis2Error)
    return str(error) if known else f"A fault of push ({type(error).__name__}), see its log."
