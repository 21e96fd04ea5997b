"""One batch to DHIS2: what is left of it, in order, and what is noted of each of its values."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import PushEnvironment, read_dhis2_credentials, read_settings
from msupply_dhis2.aws.queues import QueueRecord
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize
from msupply_dhis2.domain.batch import Batch, Message, Operation
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2PermanentError,
)
from msupply_dhis2.handlers.log import DEBUG, INFO, WARNING, LogEvent, log, write
from msupply_dhis2.handlers.run_end import end_if_done
from msupply_dhis2.push.job import push
from msupply_dhis2.push.outcome import BatchResult, not_deleted, not_sent, stopped
from msupply_dhis2.push.session import Dhis2Session
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.settings.fields import shown
from msupply_dhis2.settings.model import PLAIN_HTTP_WARNING
from msupply_dhis2.state.breaker import Breaker, BreakerTable, Login, RefusedBeforeError, log_in
from msupply_dhis2.state.connections import read_call_limit, record_success, remember_call_limit
from msupply_dhis2.state.dead_letters import BROKE_OFF
from msupply_dhis2.state.delta.table import DeltaTable, target_of_batch
from msupply_dhis2.state.message import DeliveryState
from msupply_dhis2.state.ordering.claims import (
    OLDEST,
    SENT_WITHIN,
    OrderingTable,
    Revision,
    revisions_of_batch,
    superseded,
    too_old,
)
from msupply_dhis2.state.ordering.in_flight import Ending, InFlightMessage, InFlightMessages, org_units_of
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.runs import MESSAGES_KEPT_FOR, Runs

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MOST_BROKEN_OFF = 5
"""So many deliveries may break off in the middle of a message. What breaks off before is left to the queue's own count."""

MOST_PATIENCE_SECONDS = 60.0
"""So long older values that are being sent just now are waited for; then the message goes back to the queue."""

FOR_NOTES_SECONDS = 10.0
"""Kept of the function's time, to note and tell what became of the values and to put the message back."""

READ_SECONDS = 45.0
"""How long an answer to a question about metadata or stored values is waited for: several fit into the function's
time. Calls that push values have a longer time of their own."""


type DeadReason = tuple[str, str]
"""Why a message goes to the dead letters: a sentence, and what kind of fault it is."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What keeps a message in order: claims to its values, and what is known of how it ends.

    ``broke_off``: how many of its deliveries are known to have broken off.
    """

    claims: OrderingTable
    ending: Ending
    broke_off: int


class BatchPush:
    """Pushes the batches of one invocation."""

    def __init__(
        self,
        environment: PushEnvironment,
        breakers: BreakerTable,
        runs: Runs,
        seconds_left: Callable[[], float],
        logger: Logger,
        metrics: Metrics,
    ) -> None:
        self._environment = environment
        self._breakers = breakers
        self._runs = runs
        self._seconds_left = seconds_left
        self._logger = logger
        self._log = partial(log, logger)
        self._metrics = metrics
        self._rejected_rows = RejectedRows(clients.s3(), environment.bucket_name)

    def push(self, batch: Batch, record: QueueRecord, breaker: Breaker) -> DeadReason | None:
        """Push what is left of a batch; return why it can never be sent, where that is so.

        Raises
        ------
        MsupplyDhis2Error
            Why values of it wait.
        """
        settings = read_settings(self._environment.settings_parameter, clients.ssm())
        # Counted anew where the batch is put on the queue once more; not where it is only delivered again.
        message = Message(batch.batch_id, record.attempt_id, len(batch.rows))
        if (why := _why_not_sent(batch, settings, datetime.now(UTC))) is not None:
            self._note_not_sent(message, batch, why)
            return None
        credentials = read_dhis2_credentials(
            self._environment.dhis2_secret, clients.secretsmanager(), settings
        )
        login = Login.of(str(settings.url), credentials)
        self._logger.append_keys(user=login.user, dhis2=login.url)
        try:
            if login in breaker.refused:
                raise RefusedBeforeError(login)
            return self._push_as(login, credentials, message, batch, settings, record)
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
    ) -> DeadReason | None:
        began = datetime.now(UTC)
        delivery_state = self._alive(message, self._runs.read(message, began))
        if len(delivery_state.settled) == len(batch.rows):
            self._log(
                LogEvent.BATCH_DONE_BEFORE,
                INFO,
                "Each value of this batch got its outcome at an earlier delivery: nothing is sent.",
            )
            self._count("BatchesFinishedBefore", 1)
            self.end_if_done(message)
            return None
        if delivery_state.is_stopped:
            self._note_not_sent(message, batch, stopped(len(batch.rows) - len(delivery_state.settled)))
            return None
        is_tracked = _is_tracked(batch, record, settings, began)
        with self._in_order(message, batch, delivery_state) as order:
            delivery_state = self._leave_out_older(message, batch, delivery_state, order.claims)
            if len(delivery_state.settled) == len(batch.rows):
                self.end_if_done(message)
                return None
            if order.broke_off >= MOST_BROKEN_OFF:
                return BROKE_OFF, "BrokeOff"
            if (why_refused := _for_another_data_set(batch, settings)) is not None:
                return why_refused, "OtherDataSet"
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
        self.end_if_done(message)
        return None

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
        if delivery_state.dead_letter is None:
            return delivery_state
        alive = self._runs.requeue(message, delivery_state)
        said = f"A dead letter is sent again. Its reason was: {delivery_state.dead_letter.reason}"
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
        self.end_if_done(message)

    def end_if_done(self, message: Message) -> None:
        """End the run where this was the last message of it."""
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

    def _not_noted(self, message: str) -> None:
        self._log(LogEvent.BOOKKEEPING_FAILED, WARNING, message)

    def _count(self, name: str, value: int) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


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
