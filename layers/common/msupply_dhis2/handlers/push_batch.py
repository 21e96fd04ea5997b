"""One batch to DHIS2: what is left of it, in order, and what is noted of each of its values."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

from aws_lambda_powertools.metrics import MetricUnit

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import PushEnvironment
from msupply_dhis2.aws.queues import QueueRecord
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize
from msupply_dhis2.domain.batch import Batch, Message
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.reading import shown
from msupply_dhis2.errors import AwsError, Dhis2AuthenticationError, Dhis2PermanentError
from msupply_dhis2.handlers.invocation import (
    DEBUG,
    FOR_NOTES_SECONDS,
    INFO,
    WARNING,
    LogEvent,
    RunsInvocation,
    read_login,
)
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.push.outcome import NOT_DELETED, STOPPED, SWITCHED_OFF, BatchResult, not_sent
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.settings.model import PLAIN_HTTP_WARNING
from msupply_dhis2.state.breaker import Breaker, Login, log_in
from msupply_dhis2.state.connections import read_call_limit, record_success, remember_call_limit
from msupply_dhis2.state.dead_letters import BROKE_OFF
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.message import DeliveryState
from msupply_dhis2.state.ordering.claims import (
    OLDEST,
    SENT_WITHIN,
    OrderingTable,
    Revision,
    revisions_of,
    superseded,
    too_old,
)
from msupply_dhis2.state.ordering.in_flight import Ending, InFlightMessage, InFlightMessages, org_units_of
from msupply_dhis2.state.runs import message_key

MOST_BROKEN_OFF = 5
"""So many deliveries may break off in the middle of a message. What breaks off before is left to the queue's own count."""

MOST_PATIENCE_SECONDS = 60.0
"""So long older values that are being sent just now are waited for; then the message goes back to the queue."""

READ_SECONDS = 45.0
"""How long an answer to a question about metadata or stored values is waited for: several fit into the function's
time. Calls that push values have a longer time of their own."""

SUCCESS_NOTED_EVERY = timedelta(minutes=1)
"""That DHIS2 answered: each time costs a write."""

type DeadReason = tuple[str, str]
"""Why a message goes to the dead letters: a sentence, and what kind of fault it is."""


class BatchPush:
    """One delivery of a batch, and what is known of the deliveries before."""

    def __init__(self, tools: RunsInvocation[PushEnvironment], batch: Batch, record: QueueRecord) -> None:
        self._tools = tools
        self._batch = batch
        # Counted anew where the batch is put on the queue once more; not where it is only delivered again.
        self._message = Message(batch.batch_id, record.attempt_id, len(batch.values))
        self._began = datetime.now(UTC)
        self._before = DeliveryState()
        self._broke_off = 0

    def push(self, breaker: Breaker) -> DeadReason | None:
        """Push what is left of the batch; return why it can never be sent, where that is so; raise why values of it wait."""
        tools, batch = self._tools, self._batch
        settings = tools.read_settings()
        if self._is_finished(settings):
            return None
        settings.require_complete()
        with self._in_flight() as ending:
            self._leave_out_older()
            if len(self._before.settled) == len(batch.values):
                return None
            if (dead := self._why_dead(settings)) is not None:
                return dead
            # Only now: others may have been waited for, and the credentials corrected meanwhile.
            credentials, login = read_login(tools, settings)
            tools.logger.append_keys(user=login.user, dhis2=login.url)
            session = self._session(login, settings, credentials, breaker)
            is_tracked = self._is_tracked(settings)
            if settings.only_changes and not is_tracked:
                # Before anything is sent: where push breaks off nobody could tell afterwards.
                self._invalidate_delta(settings)
            limit, started = session.batch_size.limit, time.perf_counter()
            done, seconds_left = self._before.settled, tools.seconds_left
            # Until its result says otherwise: where push breaks off nobody knows what was sent.
            ending.lingers = True
            result = push(batch, session, settings=settings, done=done, seconds_left=seconds_left)
            seconds = time.perf_counter() - started
            ending.lingers, ending.held_periods = result.may_still_be_applied, result.held_periods
            if result.outcomes:
                # Before anything is said about the values: what could not be noted is sent and counted again.
                self._note_result(result, is_tracked=is_tracked)
            tools.metrics.add_metric(name="BatchSeconds", unit=MetricUnit.Seconds, value=seconds)
            self._note_answer(result, login, session, limit)
            if isinstance(result.failure, Dhis2AuthenticationError):
                forget_sessions()
                text, now = str(result.failure), datetime.now(UTC)
                tools.breakers.change(lambda each: each.login_refused(login, text, now))
            if result.failure:
                raise result.failure
        return None

    # Before anything is sent

    def _is_finished(self, settings: Settings) -> bool:
        """Return whether nothing is left to be sent; what never will be is noted."""
        tools = self._tools
        self._before = tools.runs.read(self._message, self._began)
        if self._before.dead_letter is not None:
            said = f"A dead letter is sent again. Its reason was: {self._before.dead_letter.reason}"
            # Whoever has redriven it, it is on the queue again.
            self._before = tools.runs.change(self._message, self._before, DeliveryState.requeued)
            tools.log(LogEvent.MESSAGE_REDRIVEN, INFO, said)
        left = len(self._batch.values) - len(self._before.settled)
        if not left:
            said = "Each value of this batch got its outcome at an earlier delivery: nothing is sent."
            tools.log(LogEvent.BATCH_DONE_BEFORE, INFO, said)
            tools.count("BatchesFinishedBefore", 1)
        elif (why := self._why_not_sent(settings, left)) is not None:
            new = self._settle(dict.fromkeys(range(len(self._batch.values)), "not_sent"))
            tools.write(why)
            tools.count("ValuesNotSent", len(new))
        else:
            return False
        return True

    def _why_not_sent(self, settings: Settings, left: int) -> LogRecord | None:
        """Return the line of a batch that the settings do not want sent any more, that is too old, or whose run was stopped."""
        batch = self._batch
        if not settings.use_dhis2 and not batch.while_off:
            return not_sent(left, SWITCHED_OFF)
        if batch.deletes and not settings.delete_vanished:
            return not_sent(left, NOT_DELETED, operation="delete")
        if batch.read_at is not None and self._began - batch.read_at > SENT_WITHIN:
            return too_old(batch)
        return not_sent(left, STOPPED, stopped=True) if self._before.is_stopped else None

    def _why_dead(self, settings: Settings) -> DeadReason | None:
        """Return why the batch is not sent by itself: it breaks off, or the settings have chosen another data set since."""
        if self._broke_off >= MOST_BROKEN_OFF:
            return BROKE_OFF, "BrokeOff"
        its_own = self._batch.data_set_id, self._batch.data_set_id_scheme
        chosen = str(settings.data_set_id), settings.data_set_id_scheme
        if its_own == chosen:
            return None
        said, wanted = (f"{shown(name)} ({scheme.value})" for name, scheme in (its_own, chosen))
        periods = ", ".join(sorted({value.period for value in self._batch.values}))
        return (
            f"These values are for the data set {said}, but the settings (data_set_id, data_set_id_scheme) send only to "
            f"{wanted}. If the settings are right, compute the periods again ({periods}). If {said} is right, write it "
            "into the settings again (make settings), then send the dead letters again."
        ), "OtherDataSet"

    def _in_flight(self) -> AbstractContextManager[Ending]:
        """Be sent while nothing older can be applied afterwards: what is being sent already ends before."""
        runs, seconds_left = self._tools.runs, self._tools.seconds_left()
        self._broke_off = self._before.broke_off

        own_row = message_key(self._message)["part"]

        def count_broken_off(run_id: str, row: str) -> None:
            counted = runs.note_broken_off(run_id, row)
            if row == own_row:
                self._broke_off = counted

        revisions = revisions_of(self._batch.snapshots, self._batch.read_at)
        periods: dict[str, tuple[Revision, Revision]] = {}
        for period, metric in {(value.period, value.metric) for value in self._batch.values}:
            revision = revisions.get(metric, OLDEST)
            oldest, newest = periods.get(period, (revision, revision))
            periods[period] = min(oldest, revision), max(newest, revision)
        org_units = org_units_of(value.org_unit for value in self._batch.values)
        messages = InFlightMessages(self._tools.table, tell=self._tools.not_noted, broke_off=count_broken_off)
        return messages.in_flight(
            InFlightMessage(self._message.run_id, own_row, periods, org_units),
            seconds_left + FOR_NOTES_SECONDS,
            max(0.0, min(MOST_PATIENCE_SECONDS, seconds_left - READ_SECONDS)),
        )

    def _leave_out_older(self) -> None:
        """Settle what a newer run has sent, or is about to."""
        tools, batch = self._tools, self._batch
        claims = OrderingTable(clients.table(tools.environment.ordering_table_name), datetime.now(UTC))
        older = claims.superseded(
            batch, [place for place in range(len(batch.values)) if place not in self._before.settled]
        )
        for fault in claims.faults():
            tools.log(LogEvent.ORDER_UNKNOWN, WARNING, fault)
        if older:
            newer = frozenset(claim.run_id for claim in older.values())
            new = self._settle(dict.fromkeys(older, "superseded"), superseded_by=newer)
            tools.write(superseded(batch, older))
            tools.count("ValuesSuperseded", len(new))
            self._before = tools.runs.read(self._message, datetime.now(UTC))

    def _is_tracked(self, settings: Settings) -> bool:
        """Return whether compute will look for what became of this batch, and finds it where it is about to be noted."""
        tracking = self._batch.tracking
        return (
            tracking is not None
            and tracking.attempt_id == self._message.attempt_id
            and self._began < tracking.until
            and tracking.target == target_of(settings, self._batch)
        )

    def _invalidate_delta(self, settings: Settings) -> None:
        """Have compute not rely on what it knows of the org units and periods of the batch."""
        table = clients.table(self._tools.environment.delta_table_name)
        delta = DeltaTable(table, self._tools.runs_table, self._began, target_of(settings, self._batch))
        for period, org_unit in sorted({(value.period, value.org_unit) for value in self._batch.values}):
            delta.invalidate(period, org_unit)

    def _session(
        self, login: Login, settings: Settings, credentials: Dhis2Credentials, breaker: Breaker
    ) -> Dhis2Session:
        """Return the session of a warm function, for as long as the login stays the same and is not refused."""
        tools = self._tools
        key = (login, settings.dhis2_ca_certificate)
        if key not in _sessions or login in breaker.refused:
            _sessions.clear()
            if settings.sends_login_in_clear_text:
                tools.log(LogEvent.PLAIN_HTTP, WARNING, PLAIN_HTTP_WARNING)
            client = Dhis2Client.of(settings, credentials, read_timeout=READ_SECONDS, tell=tools.write)
            try:
                log_in(tools.breakers, login, client, lambda: datetime.now(UTC))
            except Dhis2PermanentError as error:
                # What it means for the values is told by the push itself.
                tools.log(LogEvent.LOGIN_NOT_TRIED, DEBUG, f"The login could not be tried: {error}")
            limit = None
            try:
                limit = read_call_limit(tools.table, login.url)
            except AwsError as error:
                tools.not_noted(f"The number of values that DHIS2 takes in a call could not be read: {error}")
            _sessions[key] = Dhis2Session(client, AdaptiveBatchSize(limit))
        return _sessions[key]

    # What became of it

    def _settle(
        self,
        outcomes: Mapping[int, str],
        *,
        applied: frozenset[int] = frozenset(),
        superseded_by: frozenset[str] = frozenset(),
        file: int | None = None,
    ) -> frozenset[int]:
        """Note what became of values, and return which of them were counted now."""
        return self._tools.runs.settle(
            self._message,
            self._before,
            outcomes,
            applied=applied,
            began=self._began,
            ended=datetime.now(UTC),
            superseded_by=superseded_by,
            file=file,
        )

    def _note_result(self, result: BatchResult, *, is_tracked: bool) -> None:
        """Note the outcomes, and count them: first in the table, whose transaction decides what counts."""
        rows = result.rejected_rows
        file = self._before.files + 1 if rows else None
        if file is not None:
            self._tools.rejected_rows.keep(
                rows, run_id=self._message.run_id, part=self._message.name, number=file
            )
        applied = result.applied if is_tracked else frozenset[int]()
        outcomes = {place: outcome.kind.value for place, outcome in result.outcomes.items()}
        new = self._settle(outcomes, applied=applied, file=file)
        counts = result.counts_of(new)
        self._tools.count("ValuesStored", counts.stored)
        self._tools.count("ValuesUnchanged", counts.unchanged)
        self._tools.count("ValuesRejected", counts.rejected)
        self._tools.count("ValuesUnaccounted", counts.unaccounted)
        if counts.deleted:
            self._tools.count("ValuesDeleted", counts.deleted)

    def _note_answer(
        self, result: BatchResult, login: Login, session: Dhis2Session, limit_before: int | None
    ) -> None:
        """Log what became of the values, and note how DHIS2 answered."""
        tools, limit, now = self._tools, session.batch_size.limit, datetime.now(UTC)
        for line in result.lines:
            tools.write(line)
        # The values are in DHIS2: sending them again because something beside them could not be noted would be worse.
        try:
            if result.answered:
                tools.breakers.change(Breaker.answered)
                if session.noted_at is None or now - session.noted_at >= SUCCESS_NOTED_EVERY:
                    record_success(tools.table, login.url, login.user, now)
                    session.noted_at = now
            if limit != limit_before:
                remember_call_limit(tools.table, login.url, limit)
        except AwsError as error:
            tools.not_noted(f"DHIS2's answer could not be noted: {error}")


_sessions: dict[tuple[Login, str | None], Dhis2Session] = {}
"""One at most: by its login and what DHIS2's certificate is verified with."""


def forget_sessions() -> None:
    """Forget the sessions with DHIS2, as a cold start does."""
    _sessions.clear()
