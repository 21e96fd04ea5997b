"""The table of runs.

A run's own row has the counts; every change of them is one transaction with the change of the row that it comes from: a part
that compute works, or a message that is on the queue. A message's row is made by whoever is first: compute, once the queue
has taken the message, or push, where it is delivered before.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import batched
from math import ceil
from typing import Any

from boto3.dynamodb.conditions import Key

from msupply_dhis2.aws.dynamodb import (
    ATTEMPTS,
    CHANGES_IN_ONE_CALL,
    Change,
    Table,
    busy,
    change_and_read,
    change_item,
    change_items,
    query_items,
    read_item,
    read_items,
)
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.errors import DamagedRowError
from msupply_dhis2.state.message import DEAD_LETTER, DeliveryState, delivery_state_of, utc
from msupply_dhis2.state.parts import Parts
from msupply_dhis2.state.run import OPEN_RUN, RUNS_KEPT_FOR, Run, run_key, run_of

MESSAGES_KEPT_FOR = timedelta(days=120)
"""Longer than a message lives, on the queue and as a dead letter, also if it is sent again several times."""

_MESSAGE = "batch#"


class Runs:
    """The table of runs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.parts = Parts(table)

    # What compute tells

    def begin(self, run: Run, parts: Iterable[str], now: datetime) -> None:
        """Note that a run is computed, what it is about, and what parts it has; once more it is open again."""
        about = {"kind": "run", "started_by": run.started_by, "event": run.event}
        change = Change(run_key(run.run_id)).set(about).keep_until(now + RUNS_KEPT_FOR)
        change.set({"as_of": run.as_of and run.as_of.isoformat()}).set_once({"started_at": utc(now)})
        # What superseded its values before is older than those that are computed now.
        change.remove(*OPEN_RUN, "message", "superseded_by", "stopped_at")
        # First: a run without an open part is taken for one that is done.
        self.parts.open(run.run_id, parts, now)
        change_item(self._table, change)

    def note_fault(self, run_id: str, message: str) -> None:
        """Note why computing failed this time; it is tried again."""
        change_item(self._table, Change(run_key(run_id)).set({"message": message}))

    def register(self, messages: Iterable[Message], now: datetime) -> None:
        """Count messages of a run that the queue has taken; one that is counted already is not counted again."""
        for some in batched(messages, CHANGES_IN_ONE_CALL - 1, strict=False):
            left, run_id = list(some), some[0].run_id
            while left:
                values = sum(message.values for message in left)
                run = Change(run_key(run_id)).keep_until(now + RUNS_KEPT_FOR, once=True).remove(*OPEN_RUN)
                run.add({"queued": values, "waiting": values, "batches": len(left)})
                rows = [
                    Change(message_key(message))
                    .set({"values": message.values})
                    .keep_until(now + MESSAGES_KEPT_FOR)
                    .if_absent("part")
                    for message in left
                ]
                there = change_items(self._table, [run, *rows])
                left = [message for place, message in enumerate(left, 1) if there and place not in there]

    # What push tells

    def read(self, message: Message, now: datetime) -> DeliveryState:
        """Return how far a message is; one that nobody has counted yet is counted."""
        key, of_run = message_key(message), run_key(message.run_id)
        # In one request.
        rows = {str(item["part"]): item for item in read_items(self._table, [key, of_run])}
        is_stopped = "stopped_at" in rows.get(of_run["part"], {})
        item = rows.get(key["part"])
        # What is no batch holds none.
        if item is None and message.values:
            self.register([message], now)
        delivery_state = delivery_state_of(item or {})
        if delivery_state is None:
            raise DamagedRowError(
                f"The row {key['part']} of the run {message.run_id} is damaged in the table of runs. Delete "
                "it: the batch is sent from its beginning."
            )
        return replace(delivery_state, is_stopped=is_stopped)

    def settle(  # noqa: PLR0913 - a delivery, and what became of it
        self,
        message: Message,
        before: DeliveryState,
        outcomes: Mapping[int, str],
        *,
        applied: frozenset[int] = frozenset(),
        began: datetime,
        ended: datetime,
        superseded_by: frozenset[str] = frozenset(),
        file: int | None = None,
    ) -> frozenset[int]:
        """Note what became of values, and count it; return the indexes that were counted.

        ``outcomes`` are the counters by the values' indexes. Where another delivery was noted since ``before`` was read, only
        those values count that it has not settled. ``applied`` are in DHIS2 as they were sent. ``superseded_by`` are the runs
        that have claimed newer ones, ``file`` the number of the file of values that DHIS2 refused.
        """
        first, last = int(began.timestamp()), ceil(ended.timestamp())

        def settled(before: DeliveryState) -> DeliveryState:
            return replace(
                before,
                settled=before.settled | outcomes.keys(),
                applied=before.applied | applied,
                began=min(first, before.began or first),
                ended=max(last, before.ended),
                files=before.files if file is None else file,
            )

        return self._change(message, before, settled, ended, outcomes, superseded_by - {message.run_id})[1]

    def change(
        self, message: Message, before: DeliveryState, event: Callable[[DeliveryState], DeliveryState]
    ) -> DeliveryState:
        """Note that a message is a dead letter, or none any more; return what is known of it now."""
        return self._change(message, before, event, datetime.now(UTC), {}, frozenset())[0]

    def note_failure(self, message: Message, now: datetime) -> int:
        """Count a delivery that failed on the message's own account; return how many have."""
        # It may have failed before anybody counted it: a row that only tells of failures would pass for counted.
        self.read(message, now)
        return self._count("failures", message_key(message))

    def note_broken_off(self, run_id: str, row: str) -> int:
        """Count a delivery that broke off in the middle; return how many have."""
        return self._count("broke_off", {"run_id": run_id, "part": row})

    def _count(self, name: str, key: Mapping[str, str]) -> int:
        return int(change_and_read(self._table, Change(key).add({name: 1}))[name])

    def _change(
        self,
        message: Message,
        before: DeliveryState,
        event: Callable[[DeliveryState], DeliveryState],
        now: datetime,
        outcomes: Mapping[int, str],
        superseded_by: frozenset[str],
    ) -> tuple[DeliveryState, frozenset[int]]:
        """Change a message's row, whoever else changes it, and the counts of its run with it.

        Return what is known of the message now, and the indexes that have an outcome only by this.
        """
        for _ in range(ATTEMPTS):
            after = event(before)
            if after == before:
                return before, frozenset()
            after = replace(after, version=before.version + 1)
            new, was = after.settled - before.settled, before.written()
            row = Change(message_key(message)).if_equal("version", before.version)
            row.set({name: value for name, value in after.written().items() if value != was[name]})
            # Of what is no batch nothing was noted before.
            row.set({"values": message.values}).keep_until(now + MESSAGES_KEPT_FOR, once=True)
            moved = Counter(outcomes[index] for index in new)
            moved[before.counter] -= message.values - len(before.settled)
            moved[after.counter] += message.values - len(after.settled)
            of_run = Change(run_key(message.run_id)).add(moved)
            if before.dead_letter is not None and after.dead_letter is None:
                of_run.remove(*OPEN_RUN)
            changes = [row, of_run] if any(moved.values()) else [row]
            if new and superseded_by:
                of_run.add({"superseded_by": superseded_by})
                # So that whoever computes a newer run can end this one.
                changes += [
                    Change(run_key(newer))
                    .add({"supersedes": frozenset({message.run_id})})
                    .keep_until(now + RUNS_KEPT_FOR, once=True)
                    for newer in sorted(superseded_by)
                ]
            if not change_items(self._table, changes):
                return after, new
            before = self.read(message, now)
        raise busy(self._table)

    # How it ends

    def is_done(self, run_id: str, now: datetime) -> bool:
        """Return whether a run can be ended: nothing of it is computed, sent or waiting any more, and nobody has said so yet.

        Where newer values supersede its own, it is also known by then whether those are on the queue.
        """
        run = self._row(run_id)
        return run is not None and run.may_end(now) and self._with_newer(run).may_end(now)

    def _row(self, run_id: str) -> Run | None:
        """Read a run without what its parts came to."""
        item = read_item(self._table, run_key(run_id))
        return None if item is None else run_of(item)

    def _with_newer(self, run: Run) -> Run:
        """Read the runs that have claimed newer values of a run."""
        newer: dict[str, Run | None] = dict.fromkeys(sorted(run.superseded_by))
        for run_id in newer:
            # Of one whose row cannot be read nobody can tell whether it was computed to its end.
            with suppress(DamagedRowError):
                newer[run_id] = self._row(run_id)
        return replace(run, newer=tuple(found or Run(run_id) for run_id, found in newer.items()))

    def judge_superseded(self, run_id: str) -> list[str]:
        """Open again what ended otherwise than it would now that a run is computed, or cannot be.

        Return all the runs of whose values it has claimed newer ones, so that they are ended; none while it is computed.
        """
        run = self._row(run_id)
        if run is None or run.parts_open:
            return []
        for older_id in sorted(run.supersedes):
            with suppress(DamagedRowError):
                older = self.run(older_id)
                if (
                    older is not None
                    and older.ended_at is not None
                    and self._with_newer(older).outcome_by_counts is not older.outcome
                ):
                    change_item(self._table, Change(run_key(older_id)).remove(*OPEN_RUN))
        return sorted(run.supersedes)

    def close(self, run_id: str, rejected_file: str | None, now: datetime) -> Run | None:
        """Note that a run has ended; ``None`` where it has not, or where another was faster.

        A run of which a message is sent again is open again, and ends once more.
        """
        run = self.run(run_id)
        if run is None or not (run := self._with_newer(run)).may_end(now):
            return None
        outcome = run.outcome_by_counts
        ended = {"ended_at": utc(now), "outcome": outcome.value, "rejected_file": rejected_file}
        change = Change(run_key(run_id)).set(ended).if_absent("ended_at")
        change.if_equal("waiting", 0).if_equal("parts_open", 0).if_equal("batches", run.batches)
        if not change_item(self._table, change):
            return None
        return replace(run, ended_at=now, outcome=outcome, rejected_file=rejected_file)

    # What somebody asks for

    def stop(self, run_id: str, now: datetime) -> Run | None:
        """Mark a run as stopped, unless it has ended; return it, or ``None`` where there is none."""
        run = self.run(run_id)
        if run is not None and run.ended_at is None:
            change_item(self._table, Change(run_key(run_id)).set_once({"stopped_at": utc(now)}))
        return run

    def stopped_at(self, run_id: str) -> datetime | None:
        """Return when a run was stopped, if it was."""
        run = self._row(run_id)
        return None if run is None else run.stopped_at

    # Reading

    def run(self, run_id: str) -> Run | None:
        """Read a run."""
        if (run := self._row(run_id)) is None:
            return None
        computed, damaged = self.parts.computed(run_id)
        return replace(run, computed=computed, damaged=damaged)

    def recent(self, since: datetime) -> Iterator[str]:
        """Yield the ids of the runs that were first computed since an instant, the newest first."""
        for item in self._of_kind("run", since):
            yield str(item["run_id"])

    def dead_letters(self, since: datetime) -> tuple[list[tuple[Message, DeliveryState]], tuple[str, ...]]:
        """Return the messages that became dead letters since an instant, and the rows that cannot be read."""
        keys = [
            {name: item[name] for name in ("run_id", "part")} for item in self._of_kind(DEAD_LETTER, since)
        ]
        found = []
        damaged = []
        for item in read_items(self._table, keys):
            delivery_state, message = delivery_state_of(item), _message_of(item)
            if delivery_state is None or message is None:
                damaged.append(f"{item['part']} of {item['run_id']}")
            elif delivery_state.dead_letter is not None:
                found.append((message, delivery_state))
        return found, tuple(damaged)

    def _of_kind(self, kind: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield the keys of all rows of a kind that began since an instant, the newest first."""
        begun = Key("kind").eq(kind) & Key("started_at").gte(utc(since))
        return query_items(self._table, begun, IndexName="ByStart", ScanIndexForward=False)

    def files(self, run_id: str) -> tuple[dict[str, int], tuple[str, ...]]:
        """Return how many files of refused values each message has left, by name; and the rows that cannot be read."""
        files: dict[str, int] = {}
        damaged = []
        rows = Key("run_id").eq(run_id) & Key("part").begins_with(_MESSAGE)
        for item in query_items(self._table, rows, ConsistentRead=True):
            name = str(item["part"]).removeprefix(_MESSAGE).replace("#", "-")
            delivery_state = delivery_state_of(item)
            if delivery_state is None:
                damaged.append(str(item["part"]))
            elif delivery_state.files:
                files[name] = delivery_state.files
        return files, tuple(damaged)


def read_receipts(table: Table, batches: Iterable[tuple[str, str]]) -> dict[tuple[str, str], DeliveryState]:
    """Read what became of messages, each given by its batch id and attempt id; those of which nothing can be read lack."""
    keys = {_key(*batch)["part"]: batch for batch in batches}
    items = read_items(table, [_key(*batch) for batch in keys.values()])
    states = {keys[str(item["part"])]: delivery_state_of(item) for item in items}
    return {batch: state for batch, state in states.items() if state is not None}


def message_key(message: Message) -> dict[str, str]:
    """Return the key of a message's row."""
    return _key(message.batch_id, message.attempt_id)


def _message_of(item: Mapping[str, Any]) -> Message | None:
    """Return the message that a row is about; ``None`` where it is about none."""
    match str(item["part"]).split("#", 2):
        case ["batch", batch_id, attempt_id] if isinstance(item.get("values"), Decimal | int):
            return Message(batch_id, attempt_id, int(item["values"]))
        case _:
            return None


def _key(batch_id: str, attempt_id: str) -> dict[str, str]:
    return {"run_id": batch_id.rpartition("-")[0], "part": f"{_MESSAGE}{batch_id}#{attempt_id}"}
