"""Runs in the stack's DynamoDB table.

The table has the partition key ``run_id``, the sort key ``part``, the time-to-live attribute ``expires_at`` and the index
``ByStart`` of the runs' own rows. A run's own row has the counts; every change of them is one transaction with the change
of the row that it comes from: a part that compute works, or a message that is on the queue. A message's row is made by
whoever is first: compute, once the queue has taken the message, or push, where it is delivered before.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import batched
from typing import TYPE_CHECKING, Any

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
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.errors import DamagedRowError
from msupply_dhis2.state.message import (
    DEAD_LETTER,
    DeadLetterReason,
    DeliveryState,
    delivery_state_of,
)
from msupply_dhis2.state.parts import Parts
from msupply_dhis2.state.run import OPEN_RUN, RUNS_KEPT_FOR, Run, run_key, run_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MESSAGES_KEPT_FOR = timedelta(days=120)
"""Longer than a message lives, on the queue and as a dead letter, also if it is sent again several times."""

_MESSAGE = "batch#"


class Runs:
    """The table of runs."""

    def __init__(self, table: "Table") -> None:
        self._table = table
        self.parts = Parts(table)

    # What compute tells

    def begin(self, run: Run, parts: Iterable[str], now: datetime) -> None:
        """Note that a run is computed, what it is about, and what parts it has; once more it is open again."""
        about = {"kind": "run", "started_by": run.started_by, "event": run.event}
        change = Change(run_key(run.run_id)).set(about).keep_until(now + RUNS_KEPT_FOR)
        change.set({"as_of": run.as_of and run.as_of.isoformat()})
        # What superseded its values before is older than those that are computed now.
        change.remove(*OPEN_RUN, "message", "superseded_by", "stopped_at")
        change.set_once({"started_at": now.astimezone(UTC).isoformat()})
        # First: a run without an open part is taken for one that is done.
        self.parts.open(run.run_id, parts, now)
        change_item(self._table, change, "noting that a run begins")

    def note_fault(self, run_id: str, message: str) -> None:
        """Note why computing failed this time; it is tried again."""
        change = Change(run_key(run_id)).set({"message": message})
        change_item(self._table, change, "noting why a run could not be computed")

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
                doing = f"counting what of the run {run_id} is on the queue"
                there = change_items(self._table, [run, *rows], doing)
                left = [message for place, message in enumerate(left, 1) if there and place not in there]

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
            # What is no batch holds none.
            if message.values:
                self.register([message], now)
            return DeliveryState(is_stopped=is_stopped)
        delivery_state = delivery_state_of(item)
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

        Where another delivery was noted since ``before`` was read, only those values count that it has not settled. ``settled``
        got their outcome now or earlier, ``applied`` are in DHIS2 as they were sent; ``counts`` returns how many of the given
        indexes have which outcome, by the counters' names. ``superseded_by`` are the runs that have claimed newer ones,
        ``file`` the number of the file of values that DHIS2 refused. The row may be forgotten after ``keep_until``.
        """

        def settled_now(before: DeliveryState) -> DeliveryState:
            return replace(
                before,
                settled=before.settled | settled,
                applied=before.applied | applied,
                began=min(began.timestamp(), before.began or began.timestamp()),
                ended=max(ended.timestamp(), before.ended),
                files=before.files if file is None else file,
            )

        others = superseded_by - {message.run_id}
        return self._change(message, before, settled_now, counts, others, keep_until)[1]

    def note_failure(self, message: Message, now: datetime) -> int:
        """Count a delivery that failed on the message's own account; return how many have."""
        # It may have failed before anybody counted it: a row that only tells of failures would pass for counted.
        self.read(message, now)
        change = Change(message_key(message)).add({"failures": 1})
        return int(change_and_read(self._table, change, "counting a failed delivery")["failures"])

    def note_broken_off(self, run_id: str, row: str) -> int:
        """Count a delivery that broke off in the middle; return how many have."""
        change = Change({"run_id": run_id, "part": row}).add({"broke_off": 1})
        return int(change_and_read(self._table, change, "counting a delivery that broke off")["broke_off"])

    def dead_letter(self, message: Message, before: DeliveryState, reason: DeadLetterReason) -> DeliveryState:
        """Note that a message is a dead letter, and why, unless that was noted before; return what is known of it now."""

        def dead(before: DeliveryState) -> DeliveryState:
            return before if before.counter == "dead" else replace(before, dead_letter=reason)

        return self._change(message, before, dead)[0]

    def requeue(self, message: Message, before: DeliveryState) -> DeliveryState:
        """Note that a dead letter is on the queue again, and open its run; return what is known of it now."""

        def requeued(before: DeliveryState) -> DeliveryState:
            alive = replace(before, dead_letter=None, failures=0, broke_off=0)
            return before if before.dead_letter is None else alive

        return self._change(message, before, requeued)[0]

    def expire(self, message: Message, before: DeliveryState) -> DeliveryState:
        """Note that the queue of dead letters no longer has a message; return what is known of it now."""

        def expired(before: DeliveryState) -> DeliveryState:
            dead = before.dead_letter
            return before if dead is None else replace(before, dead_letter=replace(dead, is_expired=True))

        return self._change(message, before, expired)[0]

    def _change(
        self,
        message: Message,
        before: DeliveryState,
        decide: Callable[[DeliveryState], DeliveryState],
        counts: Callable[[frozenset[int]], Mapping[str, int]] = lambda _: {},
        superseded_by: frozenset[str] = frozenset(),
        keep_until: datetime | None = None,
    ) -> tuple[DeliveryState, frozenset[int]]:
        """Change a message's row, whoever else changes it, and the counts of its run with it.

        Return what is known of the message now, and the indexes that have an outcome only by this.
        """
        doing = f"noting what became of values of the run {message.run_id}"
        for _ in range(ATTEMPTS):
            now, after = datetime.now(UTC), decide(before)
            if after == before:
                return before, frozenset()
            after = replace(after, version=before.version + 1)
            new, was = after.settled - before.settled, before.written()
            row = Change(message_key(message)).if_equal("version", before.version)
            row.set({name: value for name, value in after.written().items() if value != was[name]})
            # Of what is no batch nothing was noted before.
            row.set({"values": message.values})
            row.keep_until(keep_until or now + MESSAGES_KEPT_FOR, once=keep_until is None)
            moved = Counter(counts(new))
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
            if not change_items(self._table, changes, doing):
                return after, new
            before = self.read(message, now)
        raise busy(doing)

    def forget(self, message: Message) -> None:
        """Forget a message that is none of any run."""
        change_item(self._table, Change(message_key(message)).delete(), "forgetting an unreadable message")

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
            yield newer or Run(run_id)

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
        if replace(run, lacks=self._lacks(run)).outcome_by_counts is not run.outcome:
            change_item(self._table, Change(run_key(run_id)).remove(*OPEN_RUN), "opening a run again")

    def close(self, run_id: str, rejected_file: str | None, now: datetime) -> Run | None:
        """Note that a run has ended; ``None`` where it has not, or where another was faster.

        A run of which a message is sent again is open again, and ends once more.
        """
        run = self.run(run_id)
        if run is None or not self._may_end(run, now):
            return None
        run = replace(run, lacks=self._lacks(run))
        ended = {"ended_at": now.astimezone(UTC).isoformat(), "outcome": run.outcome_by_counts.value}
        if rejected_file is not None:
            ended["rejected_file"] = rejected_file
        change = Change(run_key(run_id)).set(ended).if_absent("ended_at")
        change.if_equal("waiting", 0).if_equal("parts_open", 0).if_equal("batches", run.batches)
        if not change_item(self._table, change, "noting that a run has ended"):
            return None
        return replace(run, ended_at=now, outcome=run.outcome_by_counts, rejected_file=rejected_file)

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
        if (item := read_item(self._table, run_key(run_id), _READING_RUN)) is None:
            return None
        computed, damaged = self.parts.computed(run_id)
        return replace(run_of(item, computed), damaged=damaged)

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
        for item in read_items(self._table, keys, "reading the dead letters"):
            delivery_state, message = delivery_state_of(item), _message_of(item)
            if delivery_state is None or message is None:
                damaged.append(f"{item['part']} of {item['run_id']}")
            elif delivery_state.dead_letter is not None:
                found.append((message, delivery_state))
        return found, tuple(damaged)

    def _of_kind(self, kind: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield the keys of all rows of a kind that began since an instant, the newest first."""
        begun = Key("kind").eq(kind) & Key("started_at").gte(since.astimezone(UTC).isoformat())
        return query_items(self._table, begun, _READING_RUN, IndexName="ByStart", ScanIndexForward=False)

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
    items = read_items(
        table, [_key(*batch) for batch in keys.values()], "reading what DHIS2 has acknowledged"
    )
    states = {keys[str(item["part"])]: delivery_state_of(item) for item in items}
    return {batch: state for batch, state in states.items() if state is not None}


_READING_RUN = "reading what became of a run"


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
