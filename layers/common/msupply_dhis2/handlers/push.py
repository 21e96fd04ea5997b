"""Push on AWS: messages from the queue in, the ones to try again out."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import PushEnvironment
from msupply_dhis2.aws.queues import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    QueueRecord,
    by_chance,
    is_from_a_queue,
    partial_response,
    put_back,
    queue_records,
    wait_seconds,
)
from msupply_dhis2.domain.batch import Batch, Message, decode
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
from msupply_dhis2.handlers.breaker import (
    answer_about_breaker,
    breaker_table,
    count_open_minutes,
    why_paused,
)
from msupply_dhis2.handlers.dead_letters import answer_about_dead_letters, parse_dead_letter_event
from msupply_dhis2.handlers.log import ERROR, INFO, WARNING, LogEvent, log
from msupply_dhis2.handlers.push_batch import FOR_NOTES_SECONDS, BatchPush, forget_sessions
from msupply_dhis2.handlers.stop import stop_run
from msupply_dhis2.state.breaker import Breaker, State
from msupply_dhis2.state.dead_letters import DeadLetters
from msupply_dhis2.state.message import DeadLetterReason
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count

__all__ = ["MOST_FAILURES", "WAITS_FOR", "forget_sessions", "run"]

MOST_FAILURES = 12
"""With the growing waits two hours: a restart or an upgrade of DHIS2 is outlasted."""

WAITS_FOR = timedelta(days=10)
"""Of the 12 days that the queue keeps a message."""


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Push every message of an event.

    Returns
    -------
    dict
        SQS's partial batch response: the messages to deliver again.

    Raises
    ------
    EventError
        Invoked with anything but messages of the queue.
    """
    push_messages = _PushMessages(PushEnvironment.read(), context, logger, metrics)
    if isinstance(event, Mapping) and {"dead_letters", "breaker", "stop"} & event.keys():
        try:
            return push_messages.answer(event)
        except EventError as error:
            _not_understood(str(error), logger, metrics)
            raise
    if not is_from_a_queue(event):
        message = (
            "Push is invoked by the queue. To push by hand, invoke compute with "
            '{"manual": true}; to list dead letters, or to send them again, invoke push with {"dead_letters": "list"} '
            'or {"dead_letters": "redrive"}; to pause sending, or to send again, with {"breaker": "open"} or '
            '{"breaker": "close"}; to stop a run, with {"stop": "…"} and its id.'
        )
        _not_understood(message, logger, metrics)
        raise EventError(message)
    # Also where it is all of them: raising would make each message that is tried again an error of the function,
    # and hide the real ones.
    return partial_response(
        [record.message_id for record in queue_records(event) if not push_messages.process_record(record)]
    )


def _not_understood(message: str, logger: Logger, metrics: Metrics) -> None:
    log(logger, LogEvent.INVOCATION_NOT_UNDERSTOOD, ERROR, message)
    metrics.add_metric(name="EventsNotUnderstood", unit=MetricUnit.Count, value=1)


class _PushMessages:
    """Works the messages of one invocation."""

    def __init__(
        self, environment: PushEnvironment, context: LambdaContext, logger: Logger, metrics: Metrics
    ) -> None:
        self._environment = environment
        self._context = context
        self._logger = logger
        self._log = partial(log, logger)
        self._metrics = metrics
        self._breakers = breaker_table(environment.table_name, logger)
        self._runs = Runs(clients.table(environment.runs_table_name))
        self._dead_letters = DeadLetters(
            clients.sqs(),
            environment.queue_url,
            environment.dead_letter_queue_url,
            self._runs,
            self._seconds_left,
        )
        self._batches = BatchPush(
            environment, self._breakers, self._runs, self._seconds_left, logger, metrics
        )

    def answer(self, event: Mapping[Any, Any]) -> dict[str, object]:
        """Do what a person asks about dead letters, about sending, or about a run.

        Raises
        ------
        EventError
            It cannot be understood.
        AwsError
            A queue or the table refused.
        """
        if "breaker" in event:
            return answer_about_breaker(event, self._breakers, datetime.now(UTC), self._metrics)
        if "stop" in event:
            return self._stop(event)
        asked = parse_dead_letter_event(event)
        answer = answer_about_dead_letters(asked, self._dead_letters, self._runs, datetime.now(UTC))
        told, metric = (
            (LogEvent.DEAD_LETTERS_LISTED, "DeadLettersListed")
            if asked.dead_letters == "list"
            else (LogEvent.DEAD_LETTERS_REDRIVEN, "DeadLettersSentAgain")
        )
        self._log(told, INFO, answer.message)
        self._count(metric, sum(group.messages for group in answer.letters))
        return answer.model_dump(mode="json")

    def _stop(self, event: Mapping[Any, Any]) -> dict[str, object]:
        answer = stop_run(event, self._runs, datetime.now(UTC))
        self._log(LogEvent.RUN_STOPPED, INFO, answer.message, run_id=answer.run_id)
        self._count("RunsStopped", 1)
        return answer.model_dump(mode="json")

    def process_record(self, record: QueueRecord) -> bool:
        """Work one message, and return whether it is finished; otherwise it is to be delivered again."""
        self._logger.append_keys(receive=str(record.delivery))
        batch = trial = None
        try:
            asked = self._breakers.change(lambda breaker: breaker.tried(datetime.now(UTC)))
            if not asked.may_send:
                return self._keep_waiting(record, asked.after)
            trial = asked.after.trial_until
            batch = self._batch(record.body, record.attempt_id)
            dead = None if batch is None else self._batches.push(batch, record, asked.after)
            if dead is not None:
                reason, status = dead
                self._dead_letter(record.body, batch, record.attempt_id, reason, status)
        except MsupplyDhis2Error as error:
            return self._failed(record, batch, error)
        except Exception as error:  # noqa: BLE001 - told with its traceback
            # Nobody else would hear of it: the message is only given back.
            self._log(LogEvent.UNEXPECTED_FAULT, ERROR, "Push met a fault of its own.", exc_info=True)
            return self._failed(record, batch, error)
        else:
            return True
        finally:
            if trial is not None:
                self._end_trial(trial)
            self._logger.remove_keys(["receive", "run_id", "batch_id", "user", "dhis2"])

    def _end_trial(self, trial: datetime) -> None:
        """Let another message be tried, where this one has shown nothing of DHIS2."""
        try:
            self._breakers.change(lambda breaker: breaker.trial_ended(trial))
        except AwsError as error:
            self._not_noted(
                f"That a message was tried could not be noted: the next one follows later. {error}"
            )

    def _keep_waiting(self, record: QueueRecord, breaker: Breaker) -> bool:
        """Put a message back while sending is paused; return whether it has waited for too long, and is a dead letter."""
        now = datetime.now(UTC)
        count_open_minutes(breaker, now, self._metrics)
        if (too_long := _waited_too_long(record, now)) is not None:
            batch = self._batch(record.body, record.attempt_id)
            if batch is not None:
                reason = f"{why_paused(breaker)} {too_long}"
                self._dead_letter(record.body, batch, record.attempt_id, reason, "WaitedTooLong")
            return True
        self._hide(record, by_chance(breaker.wait(now).total_seconds()))
        self._count("BatchesPutBack", 1)
        return False

    def _batch(self, body: str, attempt_id: str) -> Batch | None:
        """Read a message; one that is no batch goes to the dead letters."""
        try:
            batch = decode(body)
        except BatchError as error:
            self._dead_letter(body, None, attempt_id, str(error), type(error).__name__)
            return None
        self._logger.append_keys(run_id=batch.run_id, batch_id=batch.batch_id)
        return batch

    def _failed(self, record: QueueRecord, batch: Batch | None, error: Exception) -> bool:
        """Have a message delivered again, or make it a dead letter; return whether it is one."""
        failures = 0
        try:
            if isinstance(error, Dhis2AuthenticationError):
                return self._keep_waiting(record, self._breakers.read())
            if isinstance(error, Dhis2DownError):
                now = datetime.now(UTC)
                breaker = self._breakers.change(lambda each: each.failed(str(error), now)).after
                if breaker.state is not State.CLOSED:
                    forget_sessions()
                    return self._keep_waiting(record, breaker)
            elif batch is not None and not isinstance(error, InFlightError):
                message = Message(batch.batch_id, record.attempt_id, len(batch.rows))
                failures = self._runs.note_failure(message, datetime.now(UTC))
            if batch is not None and (why := _why_dead(record, failures)) is not None:
                # Of any other only the kind is told: what it is about may be a part of the login.
                kind = type(error).__name__
                known = isinstance(error, MsupplyDhis2Error)
                reason = str(error) if known else f"A fault of push ({kind}), see its log."
                self._dead_letter(record.body, batch, record.attempt_id, f"{reason} {why}", kind)
                return True
        except MsupplyDhis2Error as fault:
            self._not_noted(f"What is to become of a message could not be noted yet. {fault}")
        self._put_back(record, batch, error, failures)
        return False

    def _put_back(self, record: QueueRecord, batch: Batch | None, error: Exception, failures: int) -> None:
        """Have a message delivered again after a while, and say so."""
        asked_for = error.retry_after if isinstance(error, Dhis2TransientError) else None
        if failures or asked_for is not None:
            wait = wait_seconds(failures, asked_for)
        else:
            age = (datetime.now(UTC) - record.queued_at).total_seconds()
            wait = by_chance(min(LONGEST_SECONDS, max(FIRST_SECONDS, age / 4)))
        is_set = self._hide(record, wait)
        when = f"in {wait:,} seconds" if is_set else "after the queue's own visibility time-out"
        self._count("BatchesToTryAgain", 1)
        waiting = len(batch.rows) if batch else 0
        what = f"{count(waiting, 'value')} {'goes' if waiting == 1 else 'go'}" if batch else "A message goes"
        known = isinstance(error, MsupplyDhis2Error)
        self._log(
            LogEvent.MESSAGE_PUT_BACK,
            WARNING,
            f"{what} back to the queue, to be tried again {when}: "
            f"{error if known else 'push met a fault of its own, see the line before.'}",
            error=type(error).__name__,
            waiting=waiting,
            wait=wait,
        )

    def _hide(self, record: QueueRecord, seconds: int) -> bool:
        """Have a message delivered again after so many seconds; ``False`` where that could not be set."""
        try:
            put_back(clients.sqs(), self._environment.queue_url, record.receipt_handle, seconds)
        except AwsError as fault:
            self._not_noted(f"How long a message waits on the queue could not be set: {fault}")
            return False
        return True

    def _seconds_left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000 - FOR_NOTES_SECONDS

    def _dead_letter(self, body: str, batch: Batch | None, attempt_id: str, reason: str, status: str) -> None:
        why = DeadLetterReason(reason, status, datetime.now(UTC))
        self._dead_letters.dead_letter(body, batch, attempt_id, why)
        self._count("BatchesDead", 1)
        self._log(
            LogEvent.MESSAGE_DEAD_LETTERED,
            ERROR,
            f"A message went to the dead letters. {reason} When the cause is mended, send it again: invoke push with "
            '{"dead_letters": "redrive"} (make redrive).',
        )
        if batch is not None:
            self._batches.end_if_done(Message(batch.batch_id, attempt_id, len(batch.rows)))

    def _not_noted(self, message: str) -> None:
        self._log(LogEvent.BOOKKEEPING_FAILED, WARNING, message)

    def _count(self, name: str, value: int) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def _why_dead(record: QueueRecord, failures: int) -> str | None:
    """Say why a message that has failed is not tried again."""
    if failures >= MOST_FAILURES:
        return f"It failed {failures} times. By itself it is tried no more."
    return _waited_too_long(record, datetime.now(UTC))


def _waited_too_long(record: QueueRecord, now: datetime) -> str | None:
    waited = now - record.queued_at
    if waited <= WAITS_FOR:
        return None
    return f"It waited for {waited.days} days, and the queue keeps nothing for more than 12."
