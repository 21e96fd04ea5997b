"""Runs in the stack's DynamoDB table.

The table has the partition key ``run_id``, the sort key ``part``, the time-to-live attribute ``expires_at`` and the index
``ByStart`` of the runs' own rows. A run's own row has the counts; every change of them is one transaction with the change
of the row that it comes from: a part that compute works, or a message that is on the queue. A message's row is made by
whoever is first: compute, once the queue has taken the message, or push, where it is delivered before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING

from boto3.dynamodb.conditions import Key

from msupply_dhis2.aws.dynamodb import (
    ATTEMPTS,
    CHANGES_IN_ONE_CALL,
    Change,
    busy,
    change_and_read,
    change_item,
    change_items,
    query_items,
    read_item,
    read_items,
)
from msupply_dhis2.domain.message import Message
from msupply_dhis2.errors import DamagedRowError
from msupply_dhis2.state.message import Death, DeliveryState, bitmap, delivery_state_of, milliseconds
from msupply_dhis2.state.parts import Parts
from msupply_dhis2.state.run import OPEN_RUN, RUNS_KEPT_FOR, About, Run, run_key, run_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MESSAGES_KEPT_FOR = timedelta(days=120)
"""Longer than a message lives, and longer than its copy in the bucket, from which it may be sent again."""

_MESSAGE = "batch#"


class Runs:
    """The table of runs.

    Every method raises a ``AwsError`` where the table cannot be read or written.
    """

    def __init__(self, table: "Table") -> None:
        self._table = table
        self.parts = Parts(table)

    # What compute tells

    def begin(self, run_id: str, about: About, parts: Iterable[str], now: datetime) -> None:
        """Note that a run is computed, and what parts it has; once more it is open again."""
        values: dict[str, object] = {
            "kind": "run",
            "started_by": about.started_by,
            "as_of": about.as_of.isoformat(),
            "event": about.event,
            "metrics": list(about.metrics),
            "bases": list(about.bases),
            "expires_at": _seconds(now + RUNS_KEPT_FOR),
        }
        # What superseded its values before is older than those that are computed now.
        change = (
            Change(run_key(run_id)).set(values).remove(*OPEN_RUN, "message", "superseded_by", "stopped_at")
        )
        change.set_once({"started_at": now.astimezone(UTC).isoformat()})
        # First: a run without an open part is taken for one that is done.
        self.parts.open(run_id, parts, now)
        change_item(self._table, change, "noting that a run begins")

    def note_fault(self, run_id: str, message: str) -> None:
        """Note why computing failed this time; it is tried again."""
        change = Change(run_key(run_id)).set({"message": message})
        change_item(self._table, change, "noting why a run could not be computed")

    def register(self, messages: Iterable[Message], now: datetime) -> None:
        """Count messages that the queue has taken; one that is counted already is not counted again."""
        by_run: dict[str, list[Message]] = {}
        for message in messages:
            by_run.setdefault(message.run_id, []).append(message)
        for run_id, of_run in by_run.items():
            for some in batched(of_run, CHANGES_IN_ONE_CALL - 1, strict=False):
                self._register(run_id, list(some), now)

    def _register(self, run_id: str, messages: list[Message], now: datetime) -> None:
        while messages:
            values = sum(message.values for message in messages)
            run = Change(run_key(run_id)).add({"queued": values, "waiting": values, "batches": len(messages)})
            run.set_once({"expires_at": _seconds(now + RUNS_KEPT_FOR)}).remove(*OPEN_RUN)
            rows = [
                Change(message_key(message))
                .set({"values": message.values, "expires_at": _seconds(now + MESSAGES_KEPT_FOR)})
                .if_absent("part")
                for message in messages
            ]
            there = change_items(
                self._table, [run, *rows], f"counting what of the run {run_id} is on the queue"
            )
            if not there:
                return
            messages = [message for place, message in enumerate(messages, 1) if place not in there]

    # What push tells

    def read(self, message: Message, now: datetime) -> DeliveryState:
        """Return how far a message is; one that nobody has counted yet is counted."""
        key, of_run = message_key(message), run_key(message.run_id)
        # In one request.
        rows = {
            str(item["part"]): item
            for item in read_items(self._table, [key, of_run], "reading how far a batch was sent")
        }
        is_stopped = "stopped_at" in rows.get(of_run["part"], {})
        item = rows.get(key["part"])
        if item is None:
            self.register([message], now)
            return DeliveryState(is_stopped=is_stopped)
        delivery_state = delivery_state_of(item)
        if delivery_state is None:
            raise DamagedRowError(
                f"The row {message_key(message)['part']} of the run {message.run_id} is damaged in the table of runs. Delete "
                "it: the batch is sent from its beginning."
            )
        return replace(delivery_state, is_stopped=is_stopped)

    def settle(  # noqa: PLR0913 - a delivery, and what became of it
        self,
        message: Message,
        before: DeliveryState,
        *,
        settled: frozenset[int],
        applied: frozenset[int],
        began: datetime,
        ended: datetime,
        counts: Callable[[frozenset[int]], Mapping[str, int]],
        superseded_by: frozenset[str] = frozenset(),
        file: int | None = None,
        keep_until: datetime | None = None,
    ) -> frozenset[int]:
        """Note what became of values, and count it; return the indexes that were counted.

        Parameters
        ----------
        before
            What was read before the delivery. Where another delivery was noted meanwhile, only those values count that it
            has not settled.
        settled, applied
            The indexes that got their outcome now or earlier, and those known to be in DHIS2 as they were sent.
        counts
            Returns how many of the given indexes have which outcome, by the counters' names.
        superseded_by
            The runs that have claimed newer ones of the values, where these were skipped for them.
        file
            The number of the file that the delivery left of values that DHIS2 refused; ``None`` where it left none.
        keep_until
            When the row may be forgotten, if that is later than it would be.
        """
        for _ in range(ATTEMPTS):
            after = before.after(settled, applied, began=began, ended=ended)
            new = after.settled - before.settled
            row = Change(message_key(message)).set(
                {
                    **_times(after),
                    "settled": bitmap(after.settled),
                    "applied": bitmap(after.applied),
                    "version": after.version,
                }
            )
            if file is not None:
                row.set({"files": file})
            if keep_until is not None:
                row.set({"expires_at": _seconds(keep_until)})
            changes = [row.if_equal("version", before.version)]
            if new:
                # Another delivery may have given the message up meanwhile.
                left = "waiting" if before.death is None else "dead"
                of_run = Change(run_key(message.run_id)).add({left: -len(new), **counts(new)})
                changes.append(of_run)
                if others := superseded_by - {message.run_id}:
                    of_run.add({"superseded_by": others})
                    changes += [_note_superseded(run_id, message.run_id, ended) for run_id in sorted(others)]
            if not change_items(
                self._table, changes, f"noting what became of values of the run {message.run_id}"
            ):
                return new
            before = self.read(message, ended)
        raise busy(_noting(message.run_id))

    def note_failure(self, message: Message, now: datetime) -> int:
        """Count a delivery that failed on the message's own account; give how many have."""
        # It may have failed before anybody counted it: a row that only tells of failures would pass for counted.
        self.read(message, now)
        change = Change(message_key(message)).add({"failures": 1})
        return int(change_and_read(self._table, change, "counting a failed delivery")["failures"])

    def note_broken_off(self, run_id: str, name: str) -> int:
        """Count a delivery that broke off in the middle; give how many have."""
        change = Change({"run_id": run_id, "part": f"{_MESSAGE}{name}"}).add({"broke_off": 1})
        return int(change_and_read(self._table, change, "counting a delivery that broke off")["broke_off"])

    def mark_dead(self, message: Message, before: DeliveryState, death: Death) -> bool:
        """Note that a message lies among the dead letters, and count its values; ``False`` where it was noted before."""
        for _ in range(ATTEMPTS):
            if before.death is not None:
                return False
            left = message.values - len(before.settled)
            row = Change(message_key(message)).set(
                {
                    "died": milliseconds(death.at),
                    "reason": death.reason,
                    "status": death.status,
                    "version": before.version + 1,
                }
            )
            row.if_equal("version", before.version)
            of_run = Change(run_key(message.run_id)).add({"waiting": -left, "dead": left})
            if not change_items(self._table, [row, of_run], "counting a dead letter"):
                return True
            before = self.read(message, death.at)
        raise busy(_noting(message.run_id))

    def revive(self, message: Message, before: DeliveryState) -> DeliveryState:
        """Note that a dead letter is on the queue again, and open its run; give what is known of it now."""
        for _ in range(ATTEMPTS):
            if before.death is None:
                return before
            left = message.values - len(before.settled)
            row = Change(message_key(message)).set(
                {"version": before.version + 1, "failures": 0, "broke_off": 0}
            )
            row.remove("died", "reason", "status").if_equal("version", before.version)
            of_run = Change(run_key(message.run_id)).add({"waiting": left, "dead": -left})
            of_run.remove(*OPEN_RUN)
            if not change_items(self._table, [row, of_run], "counting a dead letter that is sent again"):
                return replace(before, version=before.version + 1, failures=0, broke_off=0, death=None)
            before = self.read(message, datetime.now(UTC))
        raise busy(_noting(message.run_id))

    # How it ends

    def is_done(self, run_id: str, now: datetime) -> bool:
        """Return whether a run can be ended: nothing of it is computed, sent or waiting any more, and nobody has said so yet.

        Where newer values supersede its own, it is also known by then whether those are on the queue.
        """
        run = self._row(run_id)
        return run is not None and self._may_end(run, now)

    def _may_end(self, run: Run, now: datetime) -> bool:
        return (
            run.ended_at is None
            and run.is_done
            and not any(newer.may_be_computed(now) for newer in self._superseding(run))
        )

    def _row(self, run_id: str) -> Run | None:
        """Read a run without what its parts came to."""
        item = read_item(self._table, run_key(run_id), _READING_RUN)
        return None if item is None else run_of(item)

    def _superseding(self, run: Run) -> Iterator[Run]:
        for run_id in sorted(run.superseded_by):
            newer = None
            # Of one whose row cannot be read nobody can tell whether it was computed to its end.
            with suppress(DamagedRowError):
                newer = self._row(run_id)
            yield run_of({"run_id": run_id}) if newer is None else newer

    def _lacks(self, run: Run) -> tuple[Run, ...]:
        return tuple(newer for newer in self._superseding(run) if not newer.is_computed)

    def judge_superseded(self, run_id: str) -> list[str]:
        """Open again what ended otherwise than it would now that a run is computed, or cannot be.

        Return all the runs of whose values it has claimed newer ones, so that they are ended; none while it is computed.
        """
        run = self._row(run_id)
        if run is None or run.parts_open:
            return []
        for older_id in sorted(run.supersedes):
            with suppress(DamagedRowError):
                self._judge(older_id)
        return sorted(run.supersedes)

    def _judge(self, run_id: str) -> None:
        run = self.run(run_id)
        if run is None or run.ended_at is None:
            return
        if replace(run, lacks=self._lacks(run)).fate is not run.outcome:
            change_item(self._table, Change(run_key(run_id)).remove(*OPEN_RUN), "opening a run again")

    def close(self, run_id: str, rejected_file: str | None, now: datetime) -> Run | None:
        """Note that a run has ended; ``None`` where it has not, or where another was faster.

        A run of which a message is sent again is open again, and ends once more.
        """
        run = self.run(run_id)
        if run is None or not self._may_end(run, now):
            return None
        run = replace(run, lacks=self._lacks(run))
        ended = {"ended_at": now.astimezone(UTC).isoformat(), "outcome": run.fate.value}
        if rejected_file is not None:
            ended["rejected_file"] = rejected_file
        change = Change(run_key(run_id)).set(ended).if_absent("ended_at")
        change.if_equal("waiting", 0).if_equal("parts_open", 0).if_equal("batches", run.batches)
        if not change_item(self._table, change, "noting that a run has ended"):
            return None
        return replace(run, ended_at=now, outcome=run.fate, rejected_file=rejected_file)

    # What somebody asks for

    def stop(self, run_id: str, now: datetime) -> Run | None:
        """Mark a run as stopped, unless it has ended; return it, or ``None`` where there is none."""
        run = self.run(run_id)
        if run is not None and run.ended_at is None:
            mark = Change(run_key(run_id)).set_once({"stopped_at": now.astimezone(UTC).isoformat()})
            change_item(self._table, mark, "noting that a run is stopped")
        return run

    def stopped_at(self, run_id: str) -> datetime | None:
        """Return when a run was stopped, if it was."""
        run = self._row(run_id)
        return None if run is None else run.stopped_at

    # Reading

    def run(self, run_id: str) -> Run | None:
        """Read a run."""
        item = read_item(self._table, run_key(run_id), _READING_RUN)
        if item is None:
            return None
        computed, damaged = self.parts.computed(run_id)
        return replace(run_of(item, computed), damaged=damaged)

    def recent(self, since: datetime) -> Iterator[str]:
        """Yield the ids of the runs that were first computed since an instant, the newest first."""
        begun = Key("kind").eq("run") & Key("started_at").gte(since.astimezone(UTC).isoformat())
        for item in query_items(
            self._table, begun, _READING_RUN, IndexName="ByStart", ScanIndexForward=False
        ):
            yield str(item["run_id"])

    def files(self, run_id: str) -> tuple[dict[str, int], tuple[str, ...]]:
        """Return how many files of refused values each message has left, by name; and the rows that cannot be read."""
        files: dict[str, int] = {}
        damaged = []
        rows = Key("run_id").eq(run_id) & Key("part").begins_with(_MESSAGE)
        for item in query_items(self._table, rows, _READING_RUN, ConsistentRead=True):
            name = str(item["part"]).removeprefix(_MESSAGE).replace("#", "-")
            delivery_state = delivery_state_of(item)
            if delivery_state is None:
                damaged.append(str(item["part"]))
            elif delivery_state.files:
                files[name] = delivery_state.files
        return files, tuple(damaged)


def read_receipts(table: "Table", batches: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DeliveryState]:
    """Read what became of messages, each given by its batch id and attempt id; those of which nothing can be read lack."""
    keys = {_key(*batch)["part"]: batch for batch in batches}
    receipts: dict[tuple[str, str], DeliveryState] = {}
    asked = [_key(*batch) for batch in keys.values()]
    for item in read_items(table, asked, "reading what DHIS2 has acknowledged"):
        delivery_state = delivery_state_of(item)
        if delivery_state is not None:
            receipts[keys[str(item["part"])]] = delivery_state
    return receipts


_READING_RUN = "reading what became of a run"


def _noting(run_id: str) -> str:
    return f"noting what became of the run {run_id}"


def _times(delivery_state: DeliveryState) -> dict[str, object]:
    assert delivery_state.began is not None  # noqa: S101 - tells mypy: after a delivery
    assert delivery_state.ended is not None  # noqa: S101 - as above
    return {"began": milliseconds(delivery_state.began), "ended": milliseconds(delivery_state.ended)}


def _note_superseded(run_id: str, older: str, now: datetime) -> Change:
    """Note at a run of whose values it has claimed newer ones, so that whoever computes it can end that run."""
    change = Change(run_key(run_id)).add({"supersedes": frozenset({older})})
    return change.set_once({"expires_at": _seconds(now + RUNS_KEPT_FOR)})


def message_key(message: Message) -> dict[str, str]:
    """Return the key of a message's row."""
    return _key(message.batch_id, message.attempt_id)


def _key(batch_id: str, attempt_id: str) -> dict[str, str]:
    return {"run_id": batch_id.rpartition("-")[0], "part": f"{_MESSAGE}{batch_id}#{attempt_id}"}


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
