"""The parts of a run that compute works, each a row: open, finished or failed.

Every change of one is a transaction with the run's counts of open and failed parts. A part's id is the number of its shard,
of how many, and the month where it is about one: ``3/46``, ``3/46/2026-01``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import batched
from typing import Any

from boto3.dynamodb.conditions import Key

from msupply_dhis2.aws.dynamodb import (
    ATTEMPTS,
    CHANGES_IN_ONE_CALL,
    Change,
    Table,
    busy,
    change_items,
    query_items,
    read_items,
    row_of,
)
from msupply_dhis2.state.message import utc
from msupply_dhis2.state.run import OPEN_RUN, RUNS_KEPT_FOR, Part, run_key

MOST_ROWS_NOTED = 20
"""How many rows of mSupply's database that cannot be read a run names."""

_PART = "part#"
_STATES = _OPEN, _FINISHED, _FAILED = "open", "finished", "failed"


class Parts:
    """The rows of parts in the table of runs."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def open(self, run_id: str, parts: Iterable[str], now: datetime) -> None:
        """Note parts that are to be computed; one that was finished, or failed, is open again."""
        for some in batched(parts, CHANGES_IN_ONE_CALL - 1, strict=False):
            self._open(run_id, dict.fromkeys(f"{_PART}{part}" for part in some), now)

    def _open(self, run_id: str, states: dict[str, Any], now: datetime) -> None:
        """Open parts, by their rows; where the ``states`` are others, those that are not open."""
        for _ in range(ATTEMPTS):
            changes = [
                Change({"run_id": run_id, "part": row})
                .set({"state": _OPEN})
                .keep_until(now + RUNS_KEPT_FOR)
                .if_equal("state", state)
                for row, state in states.items()
            ]
            failed = sum(state == _FAILED for state in states.values())
            of_run = Change(run_key(run_id)).add({"parts_open": len(states), "parts_failed": -failed})
            of_run.remove(*OPEN_RUN).set({"opened_at": utc(now)})
            if not change_items(self._table, [of_run, *changes]):
                return
            keys = [{"run_id": run_id, "part": row} for row in states]
            found = {str(item["part"]): item.get("state") for item in read_items(self._table, keys)}
            states = {row: found.get(row) for row in states if found.get(row) != _OPEN}
            if not states:
                return
        raise busy(self._table)

    def finish(self, run_id: str, part: str, came_to: Part | None = None) -> None:
        """Note that all messages of a part are on the queue; once more does no harm.

        ``came_to`` is ``None`` where it was finished before, and somebody who planned twice may have opened it since.
        """
        facts = {} if came_to is None else asdict(came_to)
        self._close(run_id, part, Change(run_key(run_id)), {"state": _FINISHED, **facts})

    def fail(self, run_id: str, part: str, message: str) -> None:
        """Note that a part cannot be computed, and why."""
        of_run = Change(run_key(run_id)).add({"parts_failed": 1}).set({"message": message})
        self._close(run_id, part, of_run, {"state": _FAILED})

    def _close(self, run_id: str, part: str, of_run: Change, facts: Mapping[str, object]) -> None:
        change = Change({"run_id": run_id, "part": f"{_PART}{part}"}).set(facts).if_equal("state", _OPEN)
        # Where it is not open any more somebody else has noted it.
        change_items(self._table, [of_run.add({"parts_open": -1}), change])

    def computed(self, run_id: str) -> tuple[Part, tuple[str, ...]]:
        """Return what the parts of a run came to together, and which of their rows cannot be read."""
        parts: list[Part] = []
        unreadable: dict[str, int] = {}
        damaged = []
        rows = Key("run_id").eq(run_id) & Key("part").begins_with(_PART)
        for item in query_items(self._table, rows, ConsistentRead=True):
            name, state, part = str(item["part"]), item.get("state"), row_of(Part, item)
            if part is None or state not in _STATES:
                damaged.append(name)
            elif state == _FINISHED:
                parts.append(part)
                # A shard does its months one after the other, and meets the same rows in each.
                shard = "/".join(name.split("/")[:2])
                unreadable[shard] = max(unreadable.get(shard, 0), part.unreadable_groups)
        rows_named = dict.fromkeys(row for part in parts for row in part.unreadable_rows)
        computed = Part(
            values=sum(part.values for part in parts),
            already_stored=sum(part.already_stored for part in parts),
            periods=tuple(sorted({period for part in parts for period in part.periods})),
            unreadable_groups=sum(unreadable.values()),
            unreadable_rows=tuple(rows_named)[:MOST_ROWS_NOTED],
            incomplete=any(part.incomplete for part in parts),
        )
        return computed, tuple(damaged)
