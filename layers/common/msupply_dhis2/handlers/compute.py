"""Compute on AWS: an invocation in, a result out, everything that was said in the log.

It is invoked by schedules, by hand, and by the queue of shards, into which it divides large runs itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.backoff import wait_seconds
from msupply_dhis2.aws.environment import ComputeEnvironment, read_database_address, read_settings
from msupply_dhis2.aws.queues import BatchQueue, DeadLetters, ShardQueue, put_back
from msupply_dhis2.aws.records import QueueRecord, is_from_a_queue, partial_response, queue_records
from msupply_dhis2.compute.event import (
    ComputeEvent,
    instant_of_run,
    parse_compute_event,
    rows_asked_for,
    run_id,
)
from msupply_dhis2.compute.job import (
    Compare,
    ComputeResult,
    Division,
    OpenDatabase,
    Status,
    check_database,
    compute,
    compute_shard,
)
from msupply_dhis2.compute.sharding import Shard, ShardError, parse_shard
from msupply_dhis2.domain.batch import Age
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.errors import (
    MsupplyDhis2Error,
    SettingsError,
)
from msupply_dhis2.handlers.log import ERROR, INFO, WARNING, LogEvent, log
from msupply_dhis2.handlers.run_recorder import WHOLE, RunRecorder, about_run
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source import Source, open_source, verification_of
from msupply_dhis2.state.delta.filter import DeltaFilter, DeltaOptions, RunScope
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.invocations import first_arrival
from msupply_dhis2.state.ordering.revision import revisions_of
from msupply_dhis2.state.ordering.table import OrderingTable
from msupply_dhis2.state.shard_progress import let_go, note_finished, take

NAMED_IN_RESULT = 100
"""How many left-out subjects an answer names; the log names them all."""

FOR_NOTES_SECONDS = 10.0
"""Kept of the function's time, to note and tell how a run ended."""

LINES_IN_ONE_ENTRY = 200
"""A log entry may have 256 KB."""


DELIVERIES = 9
"""How often the queue delivers a shard, as the template says: with growing waits that takes an hour."""


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Work one invocation.

    Returns
    -------
    dict
        A ``ComputeResult`` as JSON; for messages of the queue SQS's partial batch response. A fault that somebody has to mend is the answer to an invocation by hand,
        with the status ``failed``. On schedule, and where trying again may help, it is raised, so that AWS
        tries again, counts and keeps what failed.
    """
    if is_from_a_queue(event):
        return _Shards(logger, metrics, _seconds_left(context)).work(queue_records(event))
    try:
        result = _work(event, context, logger)
    except MsupplyDhis2Error as error:
        checking = isinstance(event, Mapping) and "check_database" in event
        metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=int(not checking))
        failed = LogEvent.DATABASE_CHECKED if checking else LogEvent.RUN_FAILED
        log(logger, failed, ERROR, str(error), error=type(error).__name__)
        if _is_tried_again(event, error):
            raise
        return _as_json(ComputeResult(status=Status.FAILED, message=str(error)))
    metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=0)
    _report(result, logger, metrics)
    return _as_json(result)


def _seconds_left(context: LambdaContext) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000 - FOR_NOTES_SECONDS


def _is_tried_again(event: object, error: MsupplyDhis2Error) -> bool:
    """Return whether AWS shall try an invocation again that failed."""
    if not isinstance(event, Mapping):
        return error.is_transient
    return "interval" in event or (error.is_transient and "check_database" not in event)


def _work(event: object, context: LambdaContext, logger: Logger) -> ComputeResult:
    request_id, seconds_left = context.aws_request_id, _seconds_left(context)
    environment = ComputeEnvironment.read()
    calendar = Calendar(parse_time_zone(environment.timezone))
    if isinstance(event, Mapping) and "shard" in event:
        # By hand, and so to be sent whatever is noted; also what follows it.
        shard = parse_shard(event).model_copy(update={"planned_by": request_id})
        shard.require_known(datetime.now(UTC))
        with RunRecorder(
            environment, shard.run_id, logger, seconds_left, dry_run=shard.event.dry_run
        ) as book:
            return _compute_shard(shard, environment, calendar, book)
    asked = parse_compute_event(event)
    if asked.check_database:
        return _check_database(environment, calendar)
    settings = read_settings(environment.settings_parameter, clients.ssm())
    arrived = first_arrival(clients.table(environment.table_name), request_id, datetime.now(UTC))
    as_of = instant_of_run(asked, arrived, calendar)
    name = run_id(asked, as_of)
    rows = rows_asked_for(asked, settings)
    is_run = settings.use_dhis2 and not asked.dry_run and bool(rows)
    with RunRecorder(environment, name, logger, seconds_left, dry_run=not is_run) as book:
        book.begin(about_run(asked, as_of, rows))
        try:
            result = _compute(asked, request_id, as_of, environment, settings, calendar, book)
        except MsupplyDhis2Error as error:
            book.failed(str(error), for_good=not _is_tried_again(event, error))
            raise
    return result.model_copy(update={"see_the_log": _log_command(environment, result)})


def _check_database(environment: ComputeEnvironment, calendar: Calendar) -> ComputeResult:
    try:
        settings = read_settings(environment.settings_parameter, clients.ssm())
    except SettingsError:
        # The connection test reads the settings itself and tells their faults; here they must not hide the
        # database's own.
        settings = None
    address, trust = _database(environment, settings)
    return check_database(
        lambda: open_source(address, calendar=calendar, trust=trust),
        settings,
        verification_of(address, trust),
    )


def _database(
    environment: ComputeEnvironment, settings: Settings | None
) -> tuple[DatabaseAddress, DatabaseTrust]:
    """Read where mSupply's database is, and how it is known to be itself."""
    address = read_database_address(
        environment.database_secret, clients.secretsmanager(), environment.database_server
    )
    return address, settings.database_trust if settings else DatabaseTrust()


def _open_database(environment: ComputeEnvironment, settings: Settings, calendar: Calendar) -> OpenDatabase:
    def open_database() -> AbstractContextManager[Source]:
        address, trust = _database(environment, settings)
        return open_source(address, calendar=calendar, trust=trust)

    return open_database


def _compute(
    event: ComputeEvent,
    request_id: str,
    as_of: datetime,
    environment: ComputeEnvironment,
    settings: Settings,
    calendar: Calendar,
    book: RunRecorder,
) -> ComputeResult:
    claims = _Claims(environment, settings, run_id(event, as_of))
    with BatchQueue(clients.sqs(), environment.queue_url, book.queued) as queue:
        result = compute(
            event,
            settings=settings,
            as_of=as_of,
            calendar=calendar,
            open_database=_open_database(environment, settings, calendar),
            send=queue.send,
            division=Division(environment.lines_per_invocation, planned_by=request_id),
            compare=_compare(environment, settings, dry_run=event.dry_run),
            claim=claims.claim,
        )
    result = claims.noted_in(result)
    book.open(result.to_follow)
    _queue_what_follows(result, environment)
    book.finished(WHOLE, result)
    return result


def _compute_shard(
    shard: Shard, environment: ComputeEnvironment, calendar: Calendar, book: RunRecorder
) -> ComputeResult:
    settings = read_settings(environment.settings_parameter, clients.ssm())
    book.open([shard])
    claims = _Claims(environment, settings, shard.run_id)
    with BatchQueue(clients.sqs(), environment.queue_url, book.queued) as queue:
        result = compute_shard(
            shard,
            settings=settings,
            calendar=calendar,
            open_database=_open_database(environment, settings, calendar),
            send=queue.send,
            compare=_compare(environment, settings, dry_run=shard.event.dry_run),
            claim=claims.claim,
        )
    result = claims.noted_in(result)
    _queue_what_follows(result, environment)
    if result.status not in {Status.OFF, Status.NOTHING_TO_DO}:
        book.finished(shard.name, result)
    return result


class _Claims:
    """Claims the values of one invocation before they are sent."""

    def __init__(self, environment: ComputeEnvironment, settings: Settings, name: str) -> None:
        self._settings = settings
        self._run_id = name
        self._table = OrderingTable(clients.table(environment.ordering_table_name), datetime.now(UTC))

    def claim(self, values: Iterable[DataValue], age: Age) -> None:
        """Claim values (see ``outgoing.publish``)."""
        revisions = revisions_of(age.snapshots, age.read_at)
        self._table.claim(values, revisions, self._settings.data_element_id_scheme, self._run_id)

    def noted_in(self, result: ComputeResult) -> ComputeResult:
        """Add to a result of what the order cannot be kept."""
        return result.model_copy(update={"warnings": (*result.warnings, *self._table.faults())})


def _compare(environment: ComputeEnvironment, settings: Settings, *, dry_run: bool) -> Compare:
    now = datetime.now(UTC)
    records = DeltaTable(
        clients.table(environment.delta_table_name), clients.table(environment.runs_table_name), now
    )

    def compare(coverage: RunScope, wish: DeltaOptions) -> DeltaFilter | None:
        if not dry_run:
            for period in coverage.all_periods:
                records.note_names(settings, period)
        if settings.only_changes:
            return DeltaFilter(records, settings, coverage, wish, now)
        if not dry_run:
            # Nothing is noted of what is sent now: when Only changes is switched on again, what was noted before is
            # not to be relied upon.
            for period in coverage.all_periods:
                records.invalidate(target_of(settings), period, None)
        return None

    return compare


def _queue_what_follows(result: ComputeResult, environment: ComputeEnvironment) -> None:
    """Queue the shards that a result leaves to other invocations; all its batches are on their queue."""
    queue = ShardQueue(clients.sqs(), environment.shard_queue_url)
    for shard in result.to_follow:
        queue.send(shard.encoded())


class _Shards:
    """Works messages of the queue of shards."""

    def __init__(self, logger: Logger, metrics: Metrics, seconds_left: Callable[[], float]) -> None:
        self._logger = logger
        self._log = partial(log, logger)
        self._seconds_left = seconds_left
        self._metrics = metrics
        self._environment = ComputeEnvironment.read()
        self._calendar = Calendar(parse_time_zone(self._environment.timezone))
        self._table = clients.table(self._environment.table_name)

    def work(self, records: Sequence[QueueRecord]) -> dict[str, object]:
        """Work the messages, each by itself, and give back those to deliver again."""
        return partial_response([record.message_id for record in records if not self._is_done(record)])

    def _is_done(self, record: QueueRecord) -> bool:
        try:
            shard = parse_shard(record.body)
        except ShardError as error:
            DeadLetters(clients.sqs(), self._environment.failed_shard_queue_url).put(record.body, str(error))
            self._count("ShardsFailed", 1)
            self._log(
                LogEvent.MESSAGE_DEAD_LETTERED, ERROR, f"A message went to the dead-letter queue. {error}"
            )
            return True
        self._logger.append_keys(run_id=shard.run_id, shard=f"{shard.number} of {shard.of}")
        try:
            with RunRecorder(
                self._environment,
                shard.run_id,
                self._logger,
                self._seconds_left,
                dry_run=shard.event.dry_run,
            ) as book:
                return self._is_worked(shard, record, book)
        finally:
            self._logger.remove_keys(["run_id", "shard"])

    def _is_worked(self, shard: Shard, record: QueueRecord, book: RunRecorder) -> bool:
        try:
            return self._is_finished(shard, record, book)
        except MsupplyDhis2Error as error:
            self._failed(shard, record, book, str(error), type(error).__name__)
        except Exception as error:  # noqa: BLE001 - told with its traceback
            # Nobody else would hear of it: the message is only given back.
            self._log(LogEvent.UNEXPECTED_FAULT, ERROR, "Compute met a fault of its own.", exc_info=True)
            reason = "Compute met a fault of its own, see the line before."
            self._failed(shard, record, book, reason, type(error).__name__)
        return False

    def _is_finished(self, shard: Shard, record: QueueRecord, book: RunRecorder) -> bool:
        taken = take(self._table, shard.key, datetime.now(UTC))
        if taken.finished:
            book.was_finished(shard)
            self._log(
                LogEvent.SHARD_DONE_BEFORE,
                INFO,
                f"{_capital(shard.name)} was finished at an earlier delivery: nothing is sent.",
            )
            self._count("ShardsFinishedBefore", 1)
            return True
        if taken.free_at is not None:
            # The other may break off, and then nobody else has the message: so it stays.
            wait = 1 + max(0, round((taken.free_at - datetime.now(UTC)).total_seconds()))
            self._log(
                LogEvent.SHARD_WAITS,
                INFO,
                f"{_capital(shard.name)} is worked by another invocation: looked at again in {wait:,} seconds.",
            )
            self._count("ShardsToTryAgain", 1)
            self._put_back(record, wait)
            return False
        try:
            result = _compute_shard(shard, self._environment, self._calendar, book)
            if result.status in {Status.OFF, Status.NOTHING_TO_DO}:
                self._set_aside(shard, record, result)
                book.failed_for_good(shard, result.message)
                return True
            note_finished(self._table, shard.key, datetime.now(UTC))
        except BaseException:
            self._let_go(shard)
            raise
        _report(result, self._logger, self._metrics)
        self._count("ShardsFinished", 1)
        return True

    def _set_aside(self, shard: Shard, record: QueueRecord, result: ComputeResult) -> None:
        """Keep a shard that the settings leave no work for, with all its steps, among the dead letters."""
        steps = ", ".join(step.month or "the run's own" for step in shard.steps)
        reason = f"{result.message} Not sent: {steps}."
        DeadLetters(clients.sqs(), self._environment.failed_shard_queue_url).put(record.body, reason)
        self._let_go(shard)
        self._count("ShardsFailed", len(shard.steps))
        what = "switch Use DHIS2 on" if result.status is Status.OFF else "correct the settings"
        self._log(
            LogEvent.MESSAGE_DEAD_LETTERED,
            WARNING,
            f"{_capital(shard.name)} of the run {shard.run_id} went to the dead-letter queue. {reason} To send "
            f"them, {what} and redrive that queue.",
        )

    def _let_go(self, shard: Shard) -> None:
        try:
            let_go(self._table, shard.key)
        except MsupplyDhis2Error as error:
            self._log(
                LogEvent.BOOKKEEPING_FAILED,
                WARNING,
                f"{_capital(shard.name)} is free again in a quarter of an hour only. {error}",
            )

    def _failed(self, shard: Shard, record: QueueRecord, book: RunRecorder, reason: str, error: str) -> None:
        delivery = record.delivery
        wait = wait_seconds(delivery)
        if is_last := delivery >= DELIVERIES:
            book.failed_for_good(shard, reason)
            then = (
                f"It was the last of {DELIVERIES} attempts: it goes to the dead-letter queue. When the cause is "
                "mended, redrive that queue"
            )
        else:
            then = f"Attempt {delivery} of {DELIVERIES}; it is tried again in {wait:,} seconds"
        # The months that would have followed were planned too, and fail with it.
        self._count("ShardsFailed" if is_last else "ShardsToTryAgain", len(shard.steps) if is_last else 1)
        event = LogEvent.MESSAGE_DEAD_LETTERED if is_last else LogEvent.SHARD_FAILED
        said = f"{_capital(shard.name)} of the run {shard.run_id} failed: {reason} {then}."
        self._log(event, ERROR, said, error=error)
        self._put_back(record, 0 if is_last else wait)

    def _put_back(self, record: QueueRecord, seconds: int) -> None:
        try:
            put_back(clients.sqs(), self._environment.shard_queue_url, record.receipt_handle, seconds)
        except MsupplyDhis2Error as error:
            said = f"It is tried again after the queue's own visibility time-out. {error}"
            self._log(LogEvent.BOOKKEEPING_FAILED, WARNING, said)

    def _count(self, name: str, value: int) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _log_command(environment: ComputeEnvironment, result: ComputeResult) -> str | None:
    if result.status not in {Status.SENT, Status.PLANNED}:
        return None
    return f"aws logs tail {environment.push_log_group} --since 1h --follow --filter-pattern '\"{result.run_id}\"'"


def _report(result: ComputeResult, logger: Logger, metrics: Metrics) -> None:
    fields = result.model_dump(mode="json", exclude={"message", "left_out", "warnings", "mapped"})
    if result.status is Status.DATABASE_REACHED:
        event = LogEvent.DATABASE_CHECKED
    else:
        event = LogEvent.RUN_COMPUTED if result.shard is None else LogEvent.SHARD_COMPUTED
    log(logger, event, INFO, result.message, **fields)
    for event, what, sentences in (
        (LogEvent.SUBJECTS_SKIPPED, "left out", result.left_out),
        (LogEvent.DATA_WARNINGS, "to note", result.warnings),
    ):
        for start in range(0, len(sentences), LINES_IN_ONE_ENTRY):
            part = sentences[start : start + LINES_IN_ONE_ENTRY]
            first = part[0].removesuffix(".")
            more = f"; and {len(part) - 1} more, in this line's field all" if len(part) > 1 else ""
            said = f"{len(sentences)} {what}: {first}{more}."
            log(logger, event, WARNING, said, run_id=result.run_id, all=part)
    if result.shard is None:
        # What a shard leaves to follow was planned with it.
        planned = sum(len(shard.steps) for shard in result.to_follow)
        metrics.add_metric(name="ShardsPlanned", unit=MetricUnit.Count, value=planned)
    if result.status is Status.SENT:
        metrics.add_metric(name="ValuesComputed", unit=MetricUnit.Count, value=result.values)
        metrics.add_metric(name="BatchesComputed", unit=MetricUnit.Count, value=result.batches)
        metrics.add_metric(name="ValuesNotSentUnchanged", unit=MetricUnit.Count, value=result.unchanged)
        metrics.add_metric(name="ValuesVanished", unit=MetricUnit.Count, value=result.vanished)


def _as_json(result: ComputeResult) -> dict[str, object]:
    """Return the result, short enough for an answer: the log names all that was left out."""
    shortened = {
        name: (
            *sentences[:NAMED_IN_RESULT],
            f"and {len(sentences) - NAMED_IN_RESULT:,} more, see the log of compute",
        )
        for name, sentences in (("left_out", result.left_out), ("warnings", result.warnings))
        if len(sentences) > NAMED_IN_RESULT
    }
    return result.model_copy(update=shortened).model_dump(mode="json", exclude_none=True)
