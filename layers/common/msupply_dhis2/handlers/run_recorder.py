"""What compute notes of a run in the table of runs, from its beginning to the last message on the queue."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aws_lambda_powertools import Logger

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import ComputeEnvironment
from msupply_dhis2.compute.result import ComputeResult
from msupply_dhis2.compute.sharding import Shard
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.errors import AwsError
from msupply_dhis2.handlers.log import WARNING, LogEvent, log
from msupply_dhis2.handlers.run_end import end_if_done
from msupply_dhis2.state.parts import MOST_ROWS_NOTED
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.run import Part, Run
from msupply_dhis2.state.runs import Runs

WHOLE = "1/1"
"""The part of the invocation that begins a run: all of it, the first of its months, or the planning of its shards."""


class RunRecorder:
    """The notes of one invocation about a run; a dry run has none.

    When it is closed, a run that is done is ended, and so are older ones of whose values it has claimed newer ones.
    Counts are made of notes, so what cannot be noted fails, and is tried again: but for why something failed, which must
    not hide the failure itself.
    """

    def __init__(
        self,
        environment: ComputeEnvironment,
        run_id: str,
        logger: Logger,
        seconds_left: Callable[[], float],
        *,
        is_kept: bool,
    ) -> None:
        self._runs = Runs(clients.table(environment.runs_table_name))
        self._rejected_rows = RejectedRows(clients.s3(), environment.bucket_name)
        self._run_id = run_id
        self._logger = logger
        self._seconds_left = seconds_left
        self._is_kept = is_kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_kept:
            return
        try:
            # They may have waited to know whether what supersedes their values is on the queue.
            superseded = self._runs.judge_superseded(self._run_id)
        except AwsError as fault:
            self._not_noted(f"The end of older runs could not be noted yet. {fault}")
            superseded = []
        for run_id in (self._run_id, *superseded):
            end_if_done(
                run_id,
                self._runs,
                self._rejected_rows,
                datetime.now(UTC),
                seconds_left=self._seconds_left,
                logger=self._logger,
            )

    def begin(self, shard: Shard) -> None:
        """Note that the run is computed, and what it is about."""
        if self._is_kept:
            event = shard.event.model_dump_json(exclude_defaults=True)
            run = Run(self._run_id, shard.event.started_by, shard.step.as_of, event)
            self._runs.begin(run, [WHOLE], datetime.now(UTC))

    def is_stopped(self, since: datetime | None = None) -> bool:
        """Return whether somebody has stopped the run; ``since``: after an instant."""
        stopped_at = self._runs.stopped_at(self._run_id) if self._is_kept else None
        return stopped_at is not None and (since is None or stopped_at > since)

    def open(self, shards: Iterable[Shard]) -> None:
        """Note all steps of shards as parts that are to be computed, before they are queued."""
        if self._is_kept:
            self._runs.parts.open(self._run_id, _parts(shards), datetime.now(UTC))

    def queued(self, messages: Sequence[Message]) -> None:
        """Count messages that the queue has taken."""
        if self._is_kept:
            self._runs.register(messages, datetime.now(UTC))

    def finished(self, shard: Shard, result: ComputeResult) -> None:
        """Note that all messages of a shard's next step, and what follows it, are on their queues."""
        if self._is_kept:
            part = Part(
                values=result.values,
                already_stored=result.already_stored,
                periods=result.periods,
                unreadable_groups=result.unreadable_groups,
                unreadable_rows=result.unreadable_rows[:MOST_ROWS_NOTED],
                incomplete=result.incomplete,
            )
            self._runs.parts.finish(self._run_id, WHOLE if shard.is_whole_run else shard.part, part)

    def was_finished(self, shard: Shard) -> None:
        """Note again that the next step of a shard was finished before."""
        if self._is_kept:
            self._runs.parts.finish(self._run_id, shard.part)

    def failed(self, message: str, *, for_good: bool) -> None:
        """Note why the invocation failed, and whether nobody tries it again."""
        if not self._is_kept:
            return
        try:
            if for_good:
                self._runs.parts.fail(self._run_id, WHOLE, message)
            else:
                self._runs.note_fault(self._run_id, message)
        except AwsError as fault:
            self._not_noted(f"It could not be noted that the run {self._run_id} failed. {fault}")

    def failed_for_good(self, shard: Shard, message: str) -> None:
        """Note why a shard goes to the dead letters: none of its steps is computed until it is sent again."""
        if not self._is_kept:
            return
        try:
            for part in _parts([shard]):
                self._runs.parts.fail(self._run_id, part, message)
        except AwsError as fault:
            self._not_noted(f"{shard.name} failed, and that could not be noted. {fault}")

    def _not_noted(self, message: str) -> None:
        log(self._logger, LogEvent.BOOKKEEPING_FAILED, WARNING, message)


def _parts(shards: Iterable[Shard]) -> list[str]:
    return [
        shard.model_copy(update={"steps": shard.steps[index:]}).part
        for shard in shards
        for index in range(len(shard.steps))
    ]
