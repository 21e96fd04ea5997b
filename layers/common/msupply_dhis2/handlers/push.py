"""Push on AWS: messages from the queue in, the ones to try again out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.backoff import FIRST_SECONDS, LONGEST_SECONDS, by_chance, wait_seconds
from msupply_dhis2.aws.environment import PushEnvironment, read_dhis2_credentials, read_settings
from msupply_dhis2.aws.queues import put_back
from msupply_dhis2.aws.records import QueueRecord, is_from_a_queue, partial_response, queue_records
from msupply_dhis2.dhis2.batch_size import AdaptiveBatchSize
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.batch import Batch, BatchError, Operation, decode
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.message import Message
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2DownError,
    Dhis2PermanentError,
    Dhis2TransientError,
    EventError,
    MsupplyDhis2Error,
)
from msupply_dhis2.handlers.breaker import answer as answer_breaker
from msupply_dhis2.handlers.breaker import breaker_table, count_open_minutes, why_paused
from msupply_dhis2.handlers.dead_letters import FailedBatches, parse_dead_letter_event
from msupply_dhis2.handlers.log import DEBUG, ERROR, INFO, WARNING, LogEvent, log, write
from msupply_dhis2.handlers.run_end import end_if_done
from msupply_dhis2.handlers.stop import stop_run
from msupply_dhis2.push.job import push
from msupply_dhis2.push.outcome import BatchResult, not_deleted, not_sent, stopped
from msupply_dhis2.push.session import Dhis2Session
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.settings.fields import shown
from msupply_dhis2.settings.model import PLAIN_HTTP_WARNING
from msupply_dhis2.state.breaker import Breaker, Login, State
from msupply_dhis2.state.connections import read_call_limit, record_success, remember_call_limit
from msupply_dhis2.state.dead_letters.letter import BROKE_OFF
from msupply_dhis2.state.dead_letters.store import DeadLetterStore
from msupply_dhis2.state.delta.table import DeltaTable, target_of_batch
from msupply_dhis2.state.logins import RefusedBeforeError, log_in
from msupply_dhis2.state.message import Death, DeliveryState
from msupply_dhis2.state.ordering.in_flight import (
    Ending,
    InFlightError,
    InFlightMessage,
    InFlightMessages,
    org_units_of,
)
from msupply_dhis2.state.ordering.revision import OLDEST, Revision
from msupply_dhis2.state.ordering.skipped import superseded, too_old
from msupply_dhis2.state.ordering.table import SENT_WITHIN, OrderingTable, revisions_of_batch
from msupply_dhis2.state.rejected_rows.file import RejectedRows
from msupply_dhis2.state.runs import MESSAGES_KEPT_FOR, Runs
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MOST_FAILURES = 12
"""With the growing waits two hours: a restart or an upgrade of DHIS2 is outlasted."""

MOST_BROKEN_OFF = 5
"""So many deliveries may break off in the middle of a message. What breaks off before is left to the queue's own count."""

WAITS_FOR = timedelta(days=10)
"""Of the 12 days that the queue keeps a message."""

MOST_PATIENCE_SECONDS = 60.0
"""So long older values that are being sent just now are waited for; then the message goes back to the queue."""

FOR_NOTES_SECONDS = 10.0
"""Kept of the function's time, to note and tell what became of the values and to put the message back."""

READ_SECONDS = 45.0
"""How long an answer to a question about metadata or stored values is waited for: several fit into the function's
time. Calls that push values have a longer time of their own."""


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


@dataclass(frozen=True, slots=True)
class _Order:
    """What keeps a message in order: claims to its values, and what is known of how it ends.

    ``broke_off``: how many of its deliveries are known to have broken off.
    """

    claims: OrderingTable
    ending: Ending
    broke_off: int


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
        self._breakers = breaker_table(environment.table_name, logger, metrics)
        self._runs = Runs(clients.table(environment.runs_table_name))
        self._failed_batches = FailedBatches(
            clients.sqs(),
            environment.queue_url,
            environment.dead_letter_queue_url,
            DeadLetterStore(clients.s3(), environment.bucket_name),
            self._runs,
            self._seconds_left,
        )
        self._rejected_rows = RejectedRows(clients.s3(), environment.bucket_name)

    def answer(self, event: Mapping[Any, Any]) -> dict[str, object]:
        """Do what a person asks about dead letters, about sending, or about a run.

        Raises
        ------
        EventError
            It cannot be understood.
        AwsError
            A queue, the bucket or the table refused.
        """
        if "breaker" in event:
            return answer_breaker(event, self._breakers, datetime.now(UTC), self._metrics)
        if "stop" in event:
            return self._stop(event)
        asked = parse_dead_letter_event(event)
        answer = self._failed_batches.answer(asked)
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
            if batch is not None:
                self._push(batch, record, asked.after)
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
                self._bury(record.body, batch, record.attempt_id, reason, "WaitedTooLong")
            return True
        self._hide(record, by_chance(breaker.wait(now).total_seconds()))
        self._count("BatchesPutBack", 1)
        return False

    def _batch(self, body: str, attempt_id: str) -> Batch | None:
        """Read a message; one that is no batch goes to the dead letters."""
        try:
            batch = decode(body)
        except BatchError as error:
            self._bury(body, None, attempt_id, str(error), type(error).__name__)
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
                self._bury(record.body, batch, record.attempt_id, f"{reason} {why}", kind)
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

    def _push(self, batch: Batch, record: QueueRecord, breaker: Breaker) -> None:
        settings = read_settings(self._environment.settings_parameter, clients.ssm())
        # Counted anew where the batch is put on the queue once more; not where it is only delivered again.
        message = Message(batch.batch_id, record.attempt_id, len(batch.rows))
        if (why := _why_not_sent(batch, settings, datetime.now(UTC))) is not None:
            self._note_not_sent(message, batch, why)
            return
        credentials = read_dhis2_credentials(
            self._environment.dhis2_secret, clients.secretsmanager(), settings
        )
        login = Login.of(str(settings.url), credentials)
        self._logger.append_keys(user=login.user, dhis2=login.url)
        try:
            if login in breaker.refused:
                raise RefusedBeforeError(login)
            self._push_as(login, credentials, message, batch, settings, record)
        except Dhis2AuthenticationError as error:
            forget_sessions()
            text, now = str(error), datetime.now(UTC)
            self._breakers.change(lambda each: each.login_refused(login, text, now))
            raise

    def _push_as(
        self,
        login: Login,
        credentials: Dhis2Credentials,
        message: Message,
        batch: Batch,
        settings: Settings,
        record: QueueRecord,
    ) -> None:
        began = datetime.now(UTC)
        delivery_state = self._alive(message, self._runs.read(message, began))
        if len(delivery_state.settled) == len(batch.rows):
            self._log(
                LogEvent.BATCH_DONE_BEFORE,
                INFO,
                "Each value of this batch got its outcome at an earlier delivery: nothing is sent.",
            )
            self._count("BatchesFinishedBefore", 1)
            self._end_if_done(message)
            return
        if delivery_state.is_stopped:
            self._note_not_sent(message, batch, stopped(len(batch.rows) - len(delivery_state.settled)))
            return
        is_tracked = _is_tracked(batch, record, settings, began)
        with self._in_order(message, batch, delivery_state) as order:
            delivery_state = self._leave_out_older(message, batch, delivery_state, order.claims)
            if len(delivery_state.settled) == len(batch.rows):
                self._end_if_done(message)
                return
            if order.broke_off >= MOST_BROKEN_OFF:
                self._bury(record.body, batch, record.attempt_id, BROKE_OFF, "BrokeOff")
                return
            if (why_refused := _for_another_data_set(batch, settings)) is not None:
                self._bury(record.body, batch, record.attempt_id, why_refused, "OtherDataSet")
                return
            if settings.only_changes and not is_tracked:
                # Before anything is sent: where push breaks off nobody could tell afterwards.
                self._disturb(batch, settings, began)
            result = self._send(batch, delivery_state.settled, settings, login, credentials)
            order.ending.lingers = result.may_still_be_applied
            order.ending.held_periods = result.held_periods
            if result.settled != delivery_state.settled:
                # Before anything is said about the values: what could not be noted is sent and counted again.
                self._settle(message, batch, delivery_state, result, began, is_tracked=is_tracked)
        self._tell(result, login)
        self._end_if_done(message)

    @contextmanager
    def _in_order(self, message: Message, batch: Batch, delivery_state: DeliveryState) -> Iterator[_Order]:
        """Send while nothing older can be applied afterwards: what is being sent already ends before."""
        seconds = self._seconds_left() + FOR_NOTES_SECONDS
        deadline = max(0.0, min(MOST_PATIENCE_SECONDS, self._seconds_left() - READ_SECONDS))
        counts = {message.name: delivery_state.broke_off}

        def count_broken_off(run_id: str, name: str) -> None:
            counts[name] = self._runs.note_broken_off(run_id, name)

        in_flight_messages = InFlightMessages(self._table, tell=self._not_noted, broke_off=count_broken_off)
        claims = OrderingTable(clients.table(self._environment.ordering_table_name), datetime.now(UTC))
        with in_flight_messages.in_flight(_in_flight_message_of(message, batch), seconds, deadline) as ending:
            yield _Order(claims, ending, counts[message.name])

    def _leave_out_older(
        self, message: Message, batch: Batch, delivery_state: DeliveryState, claims: OrderingTable
    ) -> DeliveryState:
        """Take out what a newer run has sent, or is about to; give what is settled then."""
        left = [place for place in range(len(batch.rows)) if place not in delivery_state.settled]
        older = claims.superseded(batch, left)
        for fault in claims.faults():
            self._log(LogEvent.ORDER_UNKNOWN, WARNING, fault)
        if not older:
            return delivery_state
        now = datetime.now(UTC)
        new = self._runs.settle(
            message,
            delivery_state,
            settled=frozenset(older),
            applied=frozenset(),
            began=now,
            ended=now,
            counts=lambda places: {"superseded": len(places)},
            superseded_by=frozenset(claim.run_id for claim in older.values()),
            keep_until=_keep_until(batch),
        )
        write(self._logger, superseded(batch, older))
        self._count("ValuesSuperseded", len(new))
        return self._runs.read(message, now)

    def _alive(self, message: Message, delivery_state: DeliveryState) -> DeliveryState:
        """Count a dead letter back that is on the queue again, whoever has redriven it."""
        if delivery_state.death is None:
            return delivery_state
        alive = self._runs.revive(message, delivery_state)
        self._failed_batches.has_come_back(message)
        said = f"A dead letter is sent again. It had died of: {delivery_state.death.reason}"
        self._log(LogEvent.MESSAGE_REDRIVEN, INFO, said)
        return alive

    def _tell(self, result: BatchResult, login: Login) -> None:
        """Log what became of the values and act on how DHIS2 answered.

        Raises
        ------
        Dhis2TransientError, Dhis2AuthenticationError
            Why other values wait.
        """
        for line in result.lines:
            write(self._logger, line)
        if result.answered:
            try:
                self._breakers.change(Breaker.answered)
                record_success(self._table, login.url, login.user, datetime.now(UTC))
            except AwsError as error:
                # The values are in DHIS2: sending them again because this could not be noted would be worse.
                self._not_noted(f"That DHIS2 has answered could not be noted: {error}")
        if result.failure:
            raise result.failure

    def _settle(
        self,
        message: Message,
        batch: Batch,
        before: DeliveryState,
        result: BatchResult,
        began: datetime,
        *,
        is_tracked: bool,
    ) -> None:
        """Note what became of values, and count it: first in the table, whose transaction decides what counts."""
        rows = result.rejected_rows
        file = before.files + 1 if rows else None
        if file is not None:
            self._rejected_rows.keep(rows, run_id=message.run_id, part=message.name, number=file)
        new = self._runs.settle(
            message,
            before,
            settled=result.settled,
            applied=result.applied if is_tracked else frozenset(),
            began=began,
            ended=datetime.now(UTC),
            counts=lambda places: result.counts_of(places).by_name(),
            file=file,
            keep_until=_keep_until(batch),
        )
        counts = result.counts_of(new)
        self._count("ValuesStored", counts.stored)
        self._count("ValuesUnchanged", counts.unchanged)
        self._count("ValuesRejected", counts.rejected)
        self._count("ValuesUnaccounted", counts.unaccounted)
        if counts.deleted:
            self._count("ValuesDeleted", counts.deleted)

    def _note_not_sent(self, message: Message, batch: Batch, why: LogRecord) -> None:
        """Note, and have compute know, that what is left of a batch will not arrive."""
        now = datetime.now(UTC)
        new = self._runs.settle(
            message,
            self._alive(message, self._runs.read(message, now)),
            settled=frozenset(range(len(batch.rows))),
            applied=frozenset(),
            began=now,
            ended=now,
            counts=lambda places: {"not_sent": len(places)},
            keep_until=_keep_until(batch),
        )
        write(self._logger, why)
        self._count("ValuesNotSent", len(new))
        self._end_if_done(message)

    def _end_if_done(self, message: Message) -> None:
        end_if_done(
            message.run_id,
            self._runs,
            self._rejected_rows,
            datetime.now(UTC),
            seconds_left=self._seconds_left,
            logger=self._logger,
        )

    def _disturb(self, batch: Batch, settings: Settings, now: datetime) -> None:
        """Have compute not rely on what it knows of the org units and periods of a batch."""
        records = DeltaTable(
            clients.table(self._environment.delta_table_name),
            clients.table(self._environment.runs_table_name),
            now,
        )
        for period, org_unit in sorted({(row.period, row.org_unit) for row in batch.rows}):
            records.invalidate(target_of_batch(batch, settings), period, org_unit)

    def _send(
        self,
        batch: Batch,
        done: frozenset[int],
        settings: Settings,
        login: Login,
        credentials: Dhis2Credentials,
    ) -> BatchResult:
        """Push what is not done yet, and remember what was learnt of the server's pace."""
        session = self._session(login, settings, credentials)
        limit = session.batch_size.limit
        started = time.perf_counter()
        result = push(batch, session, settings=settings, done=done, seconds_left=self._seconds_left)
        seconds = time.perf_counter() - started
        self._metrics.add_metric(name="BatchSeconds", unit=MetricUnit.Seconds, value=seconds)
        if session.batch_size.limit != limit:
            try:
                remember_call_limit(self._table, login.url, session.batch_size.limit)
            except AwsError as error:
                self._not_noted(f"How many values DHIS2 takes in a call could not be noted: {error}")
        return result

    def _seconds_left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000 - FOR_NOTES_SECONDS

    @property
    def _table(self) -> "Table":
        return clients.table(self._environment.table_name)

    def _session(self, login: Login, settings: Settings, credentials: Dhis2Credentials) -> Dhis2Session:
        """Return the session of a warm function, for as long as the login stays the same."""
        key = (login, settings.dhis2_ca_certificate)
        if key not in _sessions:
            _sessions.clear()
            if settings.sends_login_in_clear_text:
                self._log(LogEvent.PLAIN_HTTP, WARNING, PLAIN_HTTP_WARNING)
            tell = partial(write, self._logger)
            client = Dhis2Client.of(settings, credentials, read_timeout=READ_SECONDS, tell=tell)
            try:
                log_in(self._breakers, login, client, lambda: datetime.now(UTC))
            except Dhis2PermanentError as error:
                # What it means for the values is told by the push itself.
                self._log(LogEvent.LOGIN_NOT_TRIED, DEBUG, f"The login could not be tried: {error}")
            _sessions[key] = Dhis2Session(client, AdaptiveBatchSize(self._call_limit(login)))
        return _sessions[key]

    def _call_limit(self, login: Login) -> int | None:
        try:
            return read_call_limit(self._table, login.url)
        except AwsError as error:
            self._not_noted(f"How many values DHIS2 takes in a call could not be read: {error}")
            return None

    def _bury(self, body: str, batch: Batch | None, attempt_id: str, reason: str, status: str) -> None:
        self._failed_batches.bury(body, batch, attempt_id, Death(reason, status, datetime.now(UTC)))
        self._count("BatchesDead", 1)
        self._log(
            LogEvent.MESSAGE_DEAD_LETTERED,
            ERROR,
            f"A message went to the dead letters. {reason} When the cause is mended, send it again: invoke push with "
            '{"dead_letters": "redrive"} (make redrive).',
        )
        if batch is not None:
            self._end_if_done(Message(batch.batch_id, attempt_id, len(batch.rows)))

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


def _why_not_sent(batch: Batch, settings: Settings, now: datetime) -> LogRecord | None:
    """Say of a batch that the settings do not want it sent any more, or that it is too old."""
    if not settings.use_dhis2:
        return not_sent(len(batch.rows))
    if batch.operation is Operation.DELETE and not settings.delete_vanished:
        return not_deleted(len(batch.rows))
    if batch.read_at is not None and now - batch.read_at > SENT_WITHIN:
        return too_old(batch)
    return None


def _for_another_data_set(batch: Batch, settings: Settings) -> str | None:
    """Say of a batch that it is not for the data set of the settings, which alone choose where values go."""
    its_own = batch.data_set_id, batch.data_set_id_scheme
    chosen = str(settings.data_set_id), settings.data_set_id_scheme
    if its_own == chosen:
        return None
    said, wanted = (f"{shown(name)} ({scheme.value})" for name, scheme in (its_own, chosen))
    periods = ", ".join(sorted({row.period for row in batch.rows}))
    return (
        f"These values are for the data set {said}, and the settings (data_set_id, data_set_id_scheme) send to {wanted} only. "
        f"If the settings are right, compute the periods again ({periods}): what is sent then replaces these values. If "
        f"{said} is right, write it into the settings again (make settings), then send the dead letters again."
    )


def _is_tracked(batch: Batch, record: QueueRecord, settings: Settings, now: datetime) -> bool:
    """Return whether compute will look for what became of this batch, and finds it where it is about to be noted."""
    tracking = batch.tracking
    return (
        tracking is not None
        and tracking.attempt_id == record.attempt_id
        and now < tracking.until
        and tracking.target == target_of_batch(batch, settings)
    )


def _in_flight_message_of(message: Message, batch: Batch) -> InFlightMessage:
    revisions = revisions_of_batch(batch)
    periods: dict[str, tuple[Revision, Revision]] = {}
    for period, metric in {(row.period, row.metric) for row in batch.rows}:
        revision = revisions.get(metric, OLDEST)
        oldest, newest = periods.get(period, (revision, revision))
        periods[period] = min(oldest, revision), max(newest, revision)
    return InFlightMessage(
        message.run_id, message.name, periods, org_units_of(row.org_unit for row in batch.rows)
    )


def _keep_until(batch: Batch) -> datetime | None:
    """Say until when compute may ask what became of a batch."""
    return None if batch.tracking is None else batch.tracking.until + MESSAGES_KEPT_FOR


_sessions: dict[tuple[Login, str | None], Dhis2Session] = {}
"""One at most: by its login and what DHIS2's certificate is verified with."""


def forget_sessions() -> None:
    """Forget the sessions with DHIS2, as a cold start does."""
    _sessions.clear()
