"""Compute on AWS, invoked by schedules, by hand, and by the queue of shards, into which it divides large runs itself."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import ComputeEnvironment, read_database_address, read_settings
from msupply_dhis2.aws.exports import ExportFile
from msupply_dhis2.aws.queues import (
    BatchQueue,
    QueueRecord,
    is_from_a_queue,
    partial_response,
    put_back,
    queue_records,
    send,
    wait_seconds,
)
from msupply_dhis2.compute import result as results
from msupply_dhis2.compute.event import Export, instant_of_run, parse_compute_event, rows_asked_for
from msupply_dhis2.compute.job import Compare, ComputeJob, OpenDatabase
from msupply_dhis2.compute.mapped import check_database, export_mapping
from msupply_dhis2.compute.publish import ClaimValues, OrgUnitValues
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import Shard, parse_shard, whole_run
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.domain.event_fields import with_names
from msupply_dhis2.errors import MsupplyDhis2Error, SettingsError, ShardError
from msupply_dhis2.handlers.log import ERROR, INFO, WARNING, LogEvent, log
from msupply_dhis2.handlers.run_recorder import RunRecorder
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source import open_source, verification_of
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.idempotency import first_arrival, let_go, note_finished, take
from msupply_dhis2.state.ordering.claims import OrderingTable, revisions_of

NAMED_IN_RESULT = 100
"""How many skipped stores and items an answer names; the log names them all."""

FOR_NOTES_SECONDS = 10.0
"""Kept of the function's time, to note and tell how a run ended."""

LINES_IN_ONE_ENTRY = 200
"""A log entry may have 256 KB."""

DELIVERIES = 9
"""How often the queue delivers a shard, as the template says: with growing waits that takes an hour."""

NOTHING_DONE = frozenset({Status.OFF, Status.NOTHING_TO_DO})


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Work one invocation.

    Returns
    -------
    dict
        A ``ComputeResult`` as JSON; for messages of the queue SQS's partial batch response. A fault that somebody has to
        mend is the answer to an invocation by hand, with the status ``failed``. On schedule, and where trying again may
        help, it is raised, so that AWS tries again, counts and keeps what failed.
    """
    if is_from_a_queue(event):
        invocation, records = _Invocation(context, logger, metrics), queue_records(event)
        again = [record.message_id for record in records if not invocation.process_record(record)]
        return partial_response(again)
    event = with_names(event)
    try:
        result = _Invocation(context, logger, metrics).answer(event)
    except MsupplyDhis2Error as error:
        asking = {"check_database", "export"}.intersection(event) if isinstance(event, Mapping) else ()
        metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=int(not asking))
        failed = LogEvent.DATABASE_CHECKED if "check_database" in asking else LogEvent.RUN_FAILED
        log(logger, failed, ERROR, str(error), error=type(error).__name__)
        if _is_tried_again(event, error):
            raise
        return _as_json(ComputeResult(status=Status.FAILED, message=str(error)))
    metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=0)
    _report(result, logger, metrics)
    return _as_json(result)


def _is_tried_again(event: object, error: MsupplyDhis2Error) -> bool:
    """Return whether AWS shall try an invocation again that failed."""
    if not isinstance(event, Mapping):
        return error.is_transient
    return "interval" in event or (error.is_transient and not {"check_database", "export"} & event.keys())


class _Invocation:
    """One invocation of compute."""

    def __init__(self, context: LambdaContext, logger: Logger, metrics: Metrics) -> None:
        self._request_id = context.aws_request_id
        self._seconds_left: Callable[[], float] = lambda: (
            context.get_remaining_time_in_millis() / 1000 - FOR_NOTES_SECONDS
        )
        self._logger = logger
        self._log = partial(log, logger)
        self._metrics = metrics
        self._environment = ComputeEnvironment.read()
        self._calendar = Calendar(parse_time_zone(self._environment.timezone))
        self._table = clients.table(self._environment.table_name)

    def answer(self, event: object) -> ComputeResult:
        """Do what a schedule, or somebody by hand, asks for."""
        now = datetime.now(UTC)
        if isinstance(event, Mapping) and "shard" in event:
            # By hand, and so to be sent whatever is noted; also what follows it.
            shard = parse_shard(event).model_copy(update={"planned_by": self._request_id})
            shard.require_known(now)
            with self._recorder(shard) as recorder:
                return self._compute(shard, self._read_settings(), recorder)
        asked = parse_compute_event(event)
        if asked.check_database:
            return self._check_database()
        settings = self._read_settings()
        arrived = first_arrival(self._table, self._request_id, now)
        shard = whole_run(asked, instant_of_run(asked, arrived, self._calendar), self._request_id)
        rows = rows_asked_for(asked, settings)
        with self._recorder(shard, is_kept=settings.use_dhis2 and bool(rows)) as recorder:
            if recorder.is_stopped(since=arrived):
                # AWS tries an invocation again that had failed before; whoever invokes anew means it.
                result = results.stopped(results.of(shard))
                recorder.failed(result.message, for_good=True)
                return result
            recorder.begin(shard)
            try:
                result = self._compute(shard, settings, recorder)
            except MsupplyDhis2Error as error:
                recorder.failed(str(error), for_good=not _is_tried_again(event, error))
                raise
        if result.status not in {Status.SENT, Status.PLANNED}:
            return result
        command = f"aws logs tail {self._environment.push_log_group} --since 1h --follow --filter-pattern"
        return result.model_copy(update={"see_the_log": f"{command} '\"{result.run_id}\"'"})

    def process_record(self, record: QueueRecord) -> bool:
        """Work a message of the queue of shards; return whether it is finished, otherwise it is to be delivered again."""
        try:
            shard = parse_shard(record.body)
        except ShardError as error:
            self._put_to_dead_letters(record, str(error))
            self._count("ShardsFailed", 1)
            said = f"A message went to the dead-letter queue. {error}"
            self._log(LogEvent.MESSAGE_DEAD_LETTERED, ERROR, said)
            return True
        self._logger.append_keys(run_id=shard.run_id, shard=f"{shard.number} of {shard.of}")
        try:
            with self._recorder(shard) as recorder:
                return self._process_shard(shard, record, recorder)
        finally:
            self._logger.remove_keys(["run_id", "shard"])

    def _process_shard(self, shard: Shard, record: QueueRecord, recorder: RunRecorder) -> bool:
        try:
            taken = take(self._table, shard.key, datetime.now(UTC))
            if taken.finished:
                recorder.was_finished(shard)
                said = f"{shard.name} was finished at an earlier delivery: nothing is sent."
                self._log(LogEvent.SHARD_DONE_BEFORE, INFO, said)
                self._count("ShardsFinishedBefore", 1)
                return True
            if taken.free_at is not None:
                self._wait_for_another(shard, record, taken.free_at)
                return False
            try:
                result = self._compute(shard, self._read_settings(), recorder)
                if result.status is Status.STOPPED:
                    recorder.failed_for_good(shard, result.message)
                    _report(result, self._logger, self._metrics)
                    self._count("ShardsStopped", len(shard.steps))
                    return True
                if result.status in NOTHING_DONE:
                    self._set_aside(shard, record, result)
                    recorder.failed_for_good(shard, result.message)
                    return True
                note_finished(self._table, shard.key, datetime.now(UTC))
            except BaseException:
                self._let_go(shard)
                raise
        except Exception as error:  # noqa: BLE001 - told with its traceback
            reason = str(error)
            if not isinstance(error, MsupplyDhis2Error):
                # Nobody else would hear of it: the message is only given back.
                self._log(LogEvent.UNEXPECTED_FAULT, ERROR, "Compute met a fault of its own.", exc_info=True)
                reason = "Compute met a fault of its own, see the line before."
            self._failed(shard, record, recorder, reason, type(error).__name__)
            return False
        _report(result, self._logger, self._metrics)
        self._count("ShardsFinished", 1)
        return True

    def _compute(self, shard: Shard, settings: Settings, recorder: RunRecorder) -> ComputeResult:
        """Compute a run or a shard, and queue its batches and then what follows it."""
        if shard.event.export is not None:
            return self._export(shard, settings)
        environment = self._environment
        if not shard.is_whole_run:
            if recorder.is_stopped():
                return results.stopped(results.of(shard))
            recorder.open([shard])
        ordering = OrderingTable(clients.table(environment.ordering_table_name), datetime.now(UTC))
        with BatchQueue(clients.sqs(), environment.queue_url, recorder.queued) as queue:
            job = ComputeJob(
                settings=settings,
                calendar=self._calendar,
                open_database=self._open_database(settings.database_trust),
                send=queue.send,
                lines_per_invocation=environment.lines_per_invocation,
                compare=_compare(environment, settings, dry_run=shard.event.dry_run),
                claim=_claim(ordering, settings, shard.run_id),
            )
            result = job.run(shard)
        result = result.model_copy(update={"warnings": (*result.warnings, *ordering.faults())})
        if shard.is_whole_run:
            recorder.open(result.to_follow)
        self._queue(result.to_follow)
        if shard.is_whole_run or result.status not in NOTHING_DONE:
            recorder.finished(shard, result)
        return result

    def _export(self, shard: Shard, settings: Settings) -> ComputeResult:
        """Write the values of a run or a shard, or what is mapped, into a file of the bucket."""
        open_database = self._open_database(settings.database_trust)
        with ExportFile(clients.s3(), self._environment.bucket_name) as file:
            if shard.event.export is Export.MAPPING:
                result = export_mapping(open_database, settings, file.write)
            else:

                def write(computed: OrgUnitValues, _: int) -> None:
                    for value in computed.values:
                        file.write(value.by_name())

                result = ComputeJob(
                    settings=settings,
                    calendar=self._calendar,
                    open_database=open_database,
                    lines_per_invocation=self._environment.lines_per_invocation,
                    watch=write,
                ).run(shard)
            if result.status is Status.EXPORTED:
                shards = f"{shard.number}-of-{shard.of}" if shard.of > 1 else None
                name = "-".join(part for part in (shard.event.export, shards, result.month) if part)
                address = file.upload(f"{shard.run_id}/{name}.jsonl.gz")
                said = f"{result.message} The file, which is kept for seven days: {address}"
                result = result.model_copy(update={"message": said, "file": address, "run_id": shard.run_id})
        self._queue(result.to_follow)
        return result

    def _queue(self, following: Sequence[Shard]) -> None:
        for shard in following:
            send(clients.sqs(), self._environment.shard_queue_url, shard.encoded())

    def _recorder(self, shard: Shard, *, is_kept: bool = True) -> RunRecorder:
        is_kept = is_kept and shard.event.sends
        return RunRecorder(self._environment, shard.run_id, self._logger, self._seconds_left, is_kept=is_kept)

    def _read_settings(self) -> Settings:
        return read_settings(self._environment.settings_parameter, clients.ssm())

    def _check_database(self) -> ComputeResult:
        try:
            settings = self._read_settings()
        except SettingsError:
            # The connection test reads the settings itself and tells their faults; here they must not hide the
            # database's own.
            settings = None
        trust = settings.database_trust if settings else DatabaseTrust()
        verification = verification_of(self._database_address(), trust)
        return check_database(self._open_database(trust), settings, verification)

    def _database_address(self) -> DatabaseAddress:
        environment = self._environment
        return read_database_address(
            environment.database_secret, clients.secretsmanager(), environment.database_server
        )

    def _open_database(self, trust: DatabaseTrust) -> OpenDatabase:
        return lambda: open_source(self._database_address(), calendar=self._calendar, trust=trust)

    def _wait_for_another(self, shard: Shard, record: QueueRecord, free_at: datetime) -> None:
        """Leave a shard on the queue while another invocation works it, which may break off."""
        wait = 1 + max(0, round((free_at - datetime.now(UTC)).total_seconds()))
        said = f"{shard.name} is being worked by another invocation. It is tried again in {wait:,} seconds."
        self._log(LogEvent.SHARD_WAITS, INFO, said)
        self._count("ShardsToTryAgain", 1)
        self._put_back(record, wait)

    def _set_aside(self, shard: Shard, record: QueueRecord, result: ComputeResult) -> None:
        """Keep a shard that the settings leave no work for, with all its steps, among the dead letters."""
        reason = f"{result.message} Not sent: {results.named(shard.steps)}."
        self._put_to_dead_letters(record, reason)
        self._let_go(shard)
        self._count("ShardsFailed", len(shard.steps))
        what = "switch Use DHIS2 on" if result.status is Status.OFF else "correct the settings"
        said = (
            f"{shard.name} of the run {shard.run_id} went to the dead-letter queue. {reason} To send them, {what} and "
            "redrive that queue."
        )
        self._log(LogEvent.MESSAGE_DEAD_LETTERED, WARNING, said)

    def _let_go(self, shard: Shard) -> None:
        try:
            let_go(self._table, shard.key)
        except MsupplyDhis2Error as error:
            said = f"{shard.name} is free again in a quarter of an hour only. {error}"
            self._log(LogEvent.BOOKKEEPING_FAILED, WARNING, said)

    def _failed(
        self, shard: Shard, record: QueueRecord, recorder: RunRecorder, reason: str, error: str
    ) -> None:
        delivery = record.delivery
        wait = wait_seconds(delivery)
        if is_last := delivery >= DELIVERIES:
            recorder.failed_for_good(shard, reason)
            then = (
                f"It was the last of {DELIVERIES} attempts: it goes to the dead-letter queue. Fix the cause, then "
                "redrive that queue"
            )
        else:
            then = f"Attempt {delivery} of {DELIVERIES}; it is tried again in {wait:,} seconds"
        # The months that would have followed were planned too, and fail with it.
        self._count("ShardsFailed" if is_last else "ShardsToTryAgain", len(shard.steps) if is_last else 1)
        event = LogEvent.MESSAGE_DEAD_LETTERED if is_last else LogEvent.SHARD_FAILED
        said = f"{shard.name} of the run {shard.run_id} failed: {reason} {then}."
        self._log(event, ERROR, said, error=error)
        self._put_back(record, 0 if is_last else wait)

    def _put_to_dead_letters(self, record: QueueRecord, reason: str) -> None:
        send(clients.sqs(), self._environment.failed_shard_queue_url, record.body, reason=reason)

    def _put_back(self, record: QueueRecord, seconds: int) -> None:
        try:
            put_back(clients.sqs(), self._environment.shard_queue_url, record.receipt_handle, seconds)
        except MsupplyDhis2Error as error:
            said = f"It is tried again after the queue's own visibility time-out. {error}"
            self._log(LogEvent.BOOKKEEPING_FAILED, WARNING, said)

    def _count(self, name: str, value: int) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def _claim(ordering: OrderingTable, settings: Settings, run_id: str) -> ClaimValues:
    return lambda values, age: ordering.claim(
        values, revisions_of(age.snapshots, age.read_at), settings.data_element_id_scheme, run_id
    )


def _compare(environment: ComputeEnvironment, settings: Settings, *, dry_run: bool) -> Compare:
    now = datetime.now(UTC)
    records = DeltaTable(
        clients.table(environment.delta_table_name), clients.table(environment.runs_table_name), now
    )

    def compare(scope: RunScope) -> DeltaFilter | None:
        if not dry_run:
            for period in scope.all_periods:
                records.note_names(settings, period)
        if settings.only_changes:
            return DeltaFilter(records, settings, scope, now)
        if not dry_run:
            # Nothing is noted of what is sent now: when Only changes is switched on again, what was noted before is
            # not to be relied upon.
            for period in scope.all_periods:
                records.invalidate(target_of(settings), period, None)
        return None

    return compare


def _report(result: ComputeResult, logger: Logger, metrics: Metrics) -> None:
    fields = result.model_dump(mode="json", exclude={"message", "skipped", "warnings", "mapped"})
    if result.status is Status.DATABASE_REACHED:
        event = LogEvent.DATABASE_CHECKED
    elif result.status is Status.EXPORTED:
        event = LogEvent.VALUES_EXPORTED
    else:
        event = LogEvent.RUN_COMPUTED if result.shard is None else LogEvent.SHARD_COMPUTED
    log(logger, event, INFO, result.message, **fields)
    for event, what, sentences in (
        (LogEvent.SUBJECTS_SKIPPED, "skipped", result.skipped),
        (LogEvent.DATA_WARNINGS, "notes", result.warnings),
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
        metrics.add_metric(name="ValuesNotSentUnchanged", unit=MetricUnit.Count, value=result.already_stored)
        metrics.add_metric(name="ValuesVanished", unit=MetricUnit.Count, value=result.vanished)


def _as_json(result: ComputeResult) -> dict[str, object]:
    """Return the result, short enough for an answer: the log names all that was left out."""
    shortened = {
        name: (
            *sentences[:NAMED_IN_RESULT],
            f"and {len(sentences) - NAMED_IN_RESULT:,} more, see the log of compute",
        )
        for name, sentences in (("skipped", result.skipped), ("warnings", result.warnings))
        if len(sentences) > NAMED_IN_RESULT
    }
    return result.model_copy(update=shortened).model_dump(mode="json", exclude_none=True)
