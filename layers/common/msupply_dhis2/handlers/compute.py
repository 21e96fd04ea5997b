"""Compute on AWS, invoked by schedules, by hand, and by the queue of shards, into which it divides large runs itself."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import batched

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients, queues
from msupply_dhis2.aws.environment import ComputeEnvironment, read_database_address
from msupply_dhis2.aws.exports import ExportFile
from msupply_dhis2.aws.queues import BatchQueue, QueueRecord
from msupply_dhis2.compute import result as results
from msupply_dhis2.compute.event import Export, instant_of_run, parse_compute_event, rows_asked_for
from msupply_dhis2.compute.job import ComputeJob, OpenDatabase
from msupply_dhis2.compute.mapped import check_database, export_mapping
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import Shard, parse_shard, whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.domain.reading import with_names
from msupply_dhis2.errors import AwsError, EventError, MsupplyDhis2Error, SettingsError
from msupply_dhis2.handlers.invocation import ERROR, INFO, WARNING, LogEvent, RunsInvocation
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source import open_source
from msupply_dhis2.source.connection import verification_of
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.idempotency import first_arrival, let_go, note_finished, take
from msupply_dhis2.state.ordering.claims import OrderingTable
from msupply_dhis2.state.parts import MOST_ROWS_NOTED
from msupply_dhis2.state.run import Part, Run
from msupply_dhis2.text import count

NAMED_IN_RESULT = 100
"""How many skipped stores and items an answer names; the log names them all."""

LINES_IN_ONE_ENTRY = 200
"""A log entry may have 256 KB."""

DELIVERIES = 9
"""How often the queue delivers a shard, as the template says: with growing waits that takes an hour."""

NOTHING_DONE = frozenset({Status.OFF, Status.NOTHING_TO_DO})

_EVENTS = {Status.DATABASE_REACHED: LogEvent.DATABASE_CHECKED, Status.EXPORTED: LogEvent.VALUES_EXPORTED}

ASKING = frozenset({"check_database", "export", "explain"})
"""The fields of events by which a person asks for something, and waits for the answer."""


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Return a ``ComputeResult`` as JSON; for messages of the queue SQS's partial batch response.

    A fault that somebody has to fix is the answer to an invocation by hand, with the status ``failed``. On schedule, and
    where trying again may help, it is raised, so that AWS tries again, counts and keeps what failed.
    """
    compute = _Compute(context, logger, metrics)
    if queues.is_from_a_queue(event):
        records = queues.queue_records(event)
        again = [each.message_id for each in records if not compute.process_record(each)]
        return queues.partial_response(again)
    asked = with_names(event)
    fields = _fields_of(asked)
    try:
        answer = compute.explain(asked) if "explain" in fields else compute.told(compute.answer(asked))
    except MsupplyDhis2Error as error:
        compute.count("RunsFailed", int(ASKING.isdisjoint(fields)))
        failed = LogEvent.DATABASE_CHECKED if "check_database" in fields else LogEvent.RUN_FAILED
        compute.log(failed, ERROR, str(error), error=type(error).__name__)
        if _is_tried_again(asked, error):
            raise
        return _as_json(ComputeResult(status=Status.FAILED, message=str(error)))
    compute.count("RunsFailed", 0)
    return answer


def _fields_of(event: object) -> Collection[str]:
    return event.keys() if isinstance(event, Mapping) else ()


def _is_tried_again(event: object, error: MsupplyDhis2Error) -> bool:
    """Return whether AWS shall try an invocation again that failed."""
    fields = _fields_of(event)
    return "interval" in fields or (error.is_transient and ASKING.isdisjoint(fields))


class RunRecorder(AbstractContextManager["RunRecorder"]):
    """The notes of one invocation about a run; a dry run and an export have none (not ``is_kept``).

    When it is closed, a run that is done is ended, and so are older ones of whose values it has claimed newer ones.
    Counts are made of notes, so what cannot be noted fails, and is tried again: but for why something failed, which must
    not hide the failure itself.
    """

    def __init__(self, compute: RunsInvocation[ComputeEnvironment], shard: Shard, *, is_kept: bool) -> None:
        self._compute = compute
        self._runs = compute.runs
        self._shard = shard
        self._run_id = shard.run_id
        self._is_kept = is_kept and shard.event.sends

    def __exit__(self, *_raised: object) -> None:
        if not self._is_kept:
            return
        try:
            # They may have waited to know whether what supersedes their values is on the queue.
            superseded = self._runs.judge_superseded(self._run_id)
        except AwsError as fault:
            self._compute.not_noted(f"The end of older runs could not be noted yet. {fault}")
            superseded = []
        for run_id in (self._run_id, *superseded):
            self._compute.end_if_done(run_id)

    def begin(self) -> None:
        """Note that the run is computed, and what it is about."""
        if self._is_kept:
            event, as_of = self._shard.event, self._shard.step.as_of
            text = event.model_dump_json(exclude_defaults=True)
            run = Run(self._run_id, event.started_by, as_of, text)
            self._runs.begin(run, self._shard.parts, datetime.now(UTC))

    def is_stopped(self, since: datetime | None = None) -> bool:
        """Return whether somebody has stopped the run; ``since``: after an instant."""
        stopped_at = self._runs.stopped_at(self._run_id) if self._is_kept else None
        return stopped_at is not None and (since is None or stopped_at > since)

    def open(self, shards: Iterable[Shard]) -> None:
        """Note all steps of shards as parts that are to be computed, before they are queued."""
        if self._is_kept:
            parts = [part for shard in shards for part in shard.parts]
            self._runs.parts.open(self._run_id, parts, datetime.now(UTC))

    def queued(self, messages: Sequence[Message]) -> None:
        """Count messages that the queue has taken."""
        if self._is_kept:
            self._runs.register(messages, datetime.now(UTC))

    def finished(self, result: ComputeResult | None) -> None:
        """Note that all messages of the next step, and what follows it, are on their queues; ``None``: were before."""
        if not self._is_kept:
            return
        came_to = None
        if result is not None:
            came_to = Part(
                values=result.values,
                already_stored=result.already_stored,
                periods=result.periods,
                unreadable_groups=result.unreadable_groups,
                unreadable_rows=result.unreadable_rows[:MOST_ROWS_NOTED],
                incomplete=result.incomplete,
            )
        self._runs.parts.finish(self._run_id, self._shard.parts[0], came_to)

    def failed(self, message: str, *, for_good: bool) -> None:
        """Note why the invocation failed, and whether nobody tries it again: then none of its steps is computed."""
        if not self._is_kept:
            return
        try:
            if not for_good:
                self._runs.note_fault(self._run_id, message)
                return
            for part in self._shard.parts:
                self._runs.parts.fail(self._run_id, part, message)
        except AwsError as fault:
            named = f"{self._shard.name} of the run {self._run_id}"
            self._compute.not_noted(f"It could not be noted that {named} failed. {fault}")


class _Compute(RunsInvocation[ComputeEnvironment]):
    """One invocation of compute."""

    def __init__(self, context: LambdaContext, logger: Logger, metrics: Metrics) -> None:
        super().__init__(ComputeEnvironment.read(), context, logger, metrics)
        self._request_id = context.aws_request_id
        self._calendar = Calendar(parse_time_zone(self.environment.timezone))

    def answer(self, event: object) -> ComputeResult:
        """Do what a schedule, or somebody by hand, asks for."""
        now = datetime.now(UTC)
        if isinstance(event, Mapping) and "shard" in event:
            # By hand, and so to be sent whatever is noted; also what follows it.
            shard = parse_shard(event).model_copy(update={"planned_by": self._request_id})
            shard.require_known(now)
            with RunRecorder(self, shard, is_kept=True) as recorder:
                return self._compute(shard, self.read_settings(), recorder)
        asked = parse_compute_event(event)
        if asked.check_database:
            return self._check_database(asked.settings)
        settings = self.read_settings()
        arrived = first_arrival(self.table, self._request_id, now)
        shard = whole_run(asked, instant_of_run(asked, arrived, self._calendar), self._request_id)
        is_kept = bool(rows_asked_for(asked, settings)) and not asked.is_off(settings)
        with RunRecorder(self, shard, is_kept=is_kept) as recorder:
            if recorder.is_stopped(since=arrived):
                # AWS tries an invocation again that had failed before; whoever invokes anew means it.
                result = results.of(shard).ended(Status.STOPPED)
                recorder.failed(result.message, for_good=True)
                return result
            recorder.begin()
            try:
                result = self._compute(shard, settings, recorder)
            except MsupplyDhis2Error as error:
                recorder.failed(str(error), for_good=not _is_tried_again(event, error))
                raise
        if result.status not in {Status.SENT, Status.PLANNED}:
            return result
        command = f"aws logs tail {self.environment.push_log_group} --since 1h --follow --filter-pattern"
        return result.model_copy(update={"see_the_log": f"{command} '\"{result.run_id}\"'"})

    def explain(self, event: Mapping[str, object]) -> dict[str, object]:
        """Explain a value."""
        # Asked rarely, so that runs start without it.
        from msupply_dhis2.handlers.explain import explain_value  # noqa: PLC0415

        return explain_value(self, event, self._calendar, self._open_database)

    def process_record(self, record: QueueRecord) -> bool:
        """Work a message of the queue of shards; return whether it is finished, otherwise it is to be delivered again."""
        try:
            shard = parse_shard(record.body)
        except EventError as error:
            self._set_aside(record, str(error), "A message", 1)
            return True
        self.logger.append_keys(run_id=shard.run_id, shard=f"{shard.number} of {shard.of}")
        try:
            with RunRecorder(self, shard, is_kept=True) as recorder:
                return self._process_shard(shard, record, recorder)
        finally:
            self.logger.remove_keys(["run_id", "shard"])

    def _process_shard(self, shard: Shard, record: QueueRecord, recorder: RunRecorder) -> bool:
        try:
            taken = take(self.table, shard.key, datetime.now(UTC))
            if taken.finished:
                recorder.finished(None)
                said = f"{shard.name} was finished at an earlier delivery: nothing is sent."
                self.log(LogEvent.SHARD_DONE_BEFORE, INFO, said)
                self.count("ShardsFinishedBefore", 1)
                return True
            if taken.free_at is not None:
                # Another invocation works it, which may break off.
                wait = 1 + max(0, round((taken.free_at - datetime.now(UTC)).total_seconds()))
                said = f"{shard.name} is being worked by another invocation. It is tried again in {wait:,} seconds."
                self.log(LogEvent.SHARD_WAITS, INFO, said)
                self.count("ShardsToTryAgain", 1)
                self.put_back(self.environment.shard_queue_url, record, wait)
                return False
            try:
                result = self._compute(shard, self.read_settings(), recorder)
                is_stopped = result.status is Status.STOPPED
                if result.status in NOTHING_DONE:
                    self._set_aside_unworked(shard, record, result)
                if result.status in NOTHING_DONE or is_stopped:
                    recorder.failed(result.message, for_good=True)
                else:
                    note_finished(self.table, shard.key, datetime.now(UTC))
            except BaseException:
                self._let_go(shard)
                raise
        except Exception as error:  # noqa: BLE001 - told with its traceback
            reason = str(error)
            if not isinstance(error, MsupplyDhis2Error):
                # Nobody else would hear of it: the message is only given back.
                self.log(LogEvent.UNEXPECTED_FAULT, ERROR, "Compute met a fault of its own.", exc_info=True)
                reason = "Compute has a fault of its own: see the line before."
            self._failed(shard, record, recorder, reason, type(error).__name__)
            return False
        if result.status not in NOTHING_DONE:
            self.told(result)
            self.count(
                "ShardsStopped" if is_stopped else "ShardsFinished", len(shard.steps) if is_stopped else 1
            )
        return True

    def _compute(self, shard: Shard, settings: Settings, recorder: RunRecorder) -> ComputeResult:
        """Compute a run or a shard, and queue its batches and then what follows it."""
        if shard.event.export is not None:
            return self._export(shard, settings)
        if not shard.is_whole_run:
            if recorder.is_stopped():
                return results.of(shard).ended(Status.STOPPED)
            recorder.open([shard])
        environment, compare = self.environment, partial(self._compare, settings, shard)
        ordering = OrderingTable(clients.table(environment.ordering_table_name), datetime.now(UTC))
        with BatchQueue(clients.sqs(), environment.queue_url, recorder.queued) as queue:
            job = replace(self._job(settings), send=queue.send, compare=compare, ordering=ordering)
            result = job.run(shard)
        result = result.model_copy(update={"warnings": (*result.warnings, *ordering.faults())})
        if shard.is_whole_run:
            recorder.open(result.to_follow)
        self._queue(result.to_follow)
        if shard.is_whole_run or result.status not in NOTHING_DONE:
            recorder.finished(result)
        return result

    def _job(self, settings: Settings) -> ComputeJob:
        return ComputeJob(
            settings=settings,
            calendar=self._calendar,
            open_database=self._open_database(settings.database_trust),
            lines_per_invocation=self.environment.lines_per_invocation,
        )

    def _compare(self, settings: Settings, shard: Shard, scope: RunScope) -> DeltaFilter | None:
        now = datetime.now(UTC)
        table = clients.table(self.environment.delta_table_name)
        records = DeltaTable(table, self.runs_table, now, target_of(settings))
        for period in () if shard.event.dry_run else scope.all_periods:
            records.note_names(settings, period)
            if not settings.only_changes:
                # Nothing is noted of what is sent now: when Only changes is switched on again, what was noted before is
                # not to be relied upon.
                records.invalidate(period, None)
        return DeltaFilter(records, settings, scope, now) if settings.only_changes else None

    def _export(self, shard: Shard, settings: Settings) -> ComputeResult:
        """Write the values of a run or a shard, or what is mapped, into a file of the bucket."""
        with ExportFile(clients.s3(), self.environment.bucket_name) as file:

            def write(computed: OrgUnitValues, _: int) -> None:
                for value in computed.values:
                    file.write(value.by_name())

            if shard.event.export is Export.MAPPING:
                open_database = self._open_database(settings.database_trust)
                result = export_mapping(open_database, settings, file.write)
            else:
                result = replace(self._job(settings), watch=write).run(shard)
            steps = [(each, step.month) for each in result.to_follow for step in each.steps]
            files = [file.address(_name_of_export(each, month)) for each, month in steps]
            if result.status is Status.EXPORTED:
                address = file.upload(_name_of_export(shard, result.month))
                said = f"{result.message} The file, which is kept for seven days: {address}"
                files.insert(0, address)
                result = result.ended(result.status, said, file=address, run_id=shard.run_id)
        self._queue(result.to_follow)
        return result.model_copy(update={"files": tuple(files)})

    def _queue(self, following: Sequence[Shard]) -> None:
        for shard in following:
            queues.send(clients.sqs(), self.environment.shard_queue_url, shard.encoded())

    def _check_database(self, document: str | None) -> ComputeResult:
        """Check it by a settings document that somebody has typed, or else by those in force."""
        try:
            settings = parse_settings(document) if document else self.read_settings()
        except SettingsError:
            # The connection test reads the settings itself and tells their faults; here they must not hide the
            # database's own.
            settings = None
        trust = settings.database_trust if settings else DatabaseTrust()
        verification = verification_of(self._database_address(), trust)
        return check_database(self._open_database(trust), settings, verification)

    def _database_address(self) -> DatabaseAddress:
        environment = self.environment
        return read_database_address(
            environment.database_secret, clients.secretsmanager(), environment.database_server
        )

    def _open_database(self, trust: DatabaseTrust) -> OpenDatabase:
        return lambda: open_source(self._database_address(), calendar=self._calendar, trust=trust)

    def _set_aside(self, record: QueueRecord, reason: str, what: str, shards: int) -> None:
        """Put what nobody can work among the dead letters."""
        queues.send(clients.sqs(), self.environment.failed_shard_queue_url, record.body, reason=reason)
        self.count("ShardsFailed", shards)
        self.log(LogEvent.MESSAGE_DEAD_LETTERED, ERROR, f"{what} went to the dead-letter queue. {reason}")

    def _set_aside_unworked(self, shard: Shard, record: QueueRecord, result: ComputeResult) -> None:
        """Set a shard aside that the settings leave no work for, with all its steps."""
        what = "switch Use DHIS2 on" if result.status is Status.OFF else "correct the settings"
        missing = f"Not sent: {results.named(shard.steps)}. To send them, {what} and redrive that queue."
        named = f"{shard.name} of the run {shard.run_id}"
        self._set_aside(record, f"{result.message} {missing}", named, len(shard.steps))
        self._let_go(shard)

    def _let_go(self, shard: Shard) -> None:
        try:
            let_go(self.table, shard.key)
        except MsupplyDhis2Error as error:
            self.not_noted(f"{shard.name} is free again only in a quarter of an hour. {error}")

    def _failed(
        self, shard: Shard, record: QueueRecord, recorder: RunRecorder, reason: str, error: str
    ) -> None:
        """Have a shard delivered again; after the last time SQS itself moves it to the dead letters."""
        said, delivery = f"{shard.name} of the run {shard.run_id} failed: {reason}", record.delivery
        if delivery < DELIVERIES:
            wait = queues.wait_seconds(delivery)
            said += f" Attempt {delivery} of {DELIVERIES}; it is tried again in {wait:,} seconds."
            self.count("ShardsToTryAgain", 1)
            self.log(LogEvent.SHARD_FAILED, ERROR, said, error=error)
        else:
            wait = 0
            recorder.failed(reason, for_good=True)
            said += " It was the last attempt: it goes to the dead-letter queue. Fix the cause, then redrive that queue."
            # The months that would have followed were planned too, and fail with it.
            self.count("ShardsFailed", len(shard.steps))
            self.log(LogEvent.MESSAGE_DEAD_LETTERED, ERROR, said, error=error)
        self.put_back(self.environment.shard_queue_url, record, wait)

    def told(self, result: ComputeResult) -> dict[str, object]:
        """Log and count what an invocation came to, and return it as JSON."""
        fields = result.model_dump(mode="json", exclude={"message", "skipped", "warnings", "mapped"})
        computed = LogEvent.RUN_COMPUTED if result.shard is None else LogEvent.SHARD_COMPUTED
        self.log(_EVENTS.get(result.status, computed), INFO, result.message, **fields)
        for event, what, sentences in (
            (LogEvent.SUBJECTS_SKIPPED, f"{len(result.skipped):,} skipped", result.skipped),
            (LogEvent.DATA_WARNINGS, count(len(result.warnings), "note"), result.warnings),
        ):
            for part in batched(sentences, LINES_IN_ONE_ENTRY, strict=False):
                more = f"; and {len(part) - 1} more, in this line's field all" if len(part) > 1 else ""
                said = f"{what}: {part[0].removesuffix('.')}{more}."
                self.log(event, WARNING, said, run_id=result.run_id, all=part)
        if result.shard is None:
            # What a shard leaves to follow was planned with it.
            self.count("ShardsPlanned", sum(len(shard.steps) for shard in result.to_follow))
        if result.status is Status.SENT:
            self.count("ValuesComputed", result.values)
            self.count("BatchesComputed", result.batches)
            self.count("ValuesNotSentUnchanged", result.already_stored)
            self.count("ValuesVanished", result.vanished)
        return _as_json(result)


def _name_of_export(shard: Shard, month: str | None) -> str:
    """Name the file of a step of an export: each step of each shard has one."""
    part = f"{shard.number}-of-{shard.of}" if shard.of > 1 else None
    return f"{shard.run_id}/{'-'.join(each for each in (shard.event.export, part, month) if each)}.jsonl.gz"


def _as_json(result: ComputeResult) -> dict[str, object]:
    """Return the result, short enough for an answer: the log names all that was left out."""
    shortened = {}
    for name, sentences in (("skipped", result.skipped), ("warnings", result.warnings)):
        if (more := len(sentences) - NAMED_IN_RESULT) > 0:
            shortened[name] = (*sentences[:NAMED_IN_RESULT], f"and {more:,} more, see the log of compute")
    return result.model_copy(update=shortened).model_dump(mode="json", exclude_none=True)
