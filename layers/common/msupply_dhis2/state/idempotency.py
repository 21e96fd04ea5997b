"""What is done once, however often AWS invokes: an invocation's instant, and the steps of shards. Rows of the stack's table.

A manual push without ``as_of`` is about the instant at which it was asked for; where AWS repeats the invocation, the retry must
ask for the same numbers. A queue may deliver a shard twice, and the invocation that planned may be repeated: so each step of a
shard is taken before it is worked, by one invocation at a time, and noted when it is finished.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from msupply_dhis2.aws.dynamodb import Change, Table, change_and_read, change_item, read_item, row_of
from msupply_dhis2.errors import DamagedRowError

ARRIVALS_KEPT_FOR = timedelta(days=7)

SHARDS_KEPT_FOR = timedelta(days=15)
"""Longer than a message lives: 14 days, counted from its first day, in the dead-letter queue."""

WORKED_FOR = timedelta(minutes=16)
"""Longer than an invocation lives: what was taken so long ago, and not finished, is free again."""


def first_arrival(table: Table, request_id: str, now: datetime) -> datetime:
    """Return when the invocation with this request id was first seen: ``now`` (aware) the first time, and that ever after."""
    change = Change({"id": f"invocation#{request_id}"})
    change.set_once({"arrived": now.isoformat()}).keep_until(now + ARRIVALS_KEPT_FOR, once=True)
    arrived = change_and_read(table, change)["arrived"]
    if not isinstance(arrived, str):
        raise DamagedRowError(f"The table's row invocation#{request_id} is damaged. Delete it and try again.")
    return datetime.fromisoformat(arrived)


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a step was taken: not where it was finished before, nor where another works it, until ``free_at`` at most."""

    finished: str = ""
    free_at: AwareDatetime | None = None


def take(table: Table, step: str, now: datetime) -> Taken:
    """Take the next step of a shard, unless it is finished or another invocation works it; ``now`` is aware."""
    seconds = int(now.timestamp())
    change = Change(_key(step)).set({"free_at": seconds + int(WORKED_FOR.total_seconds())})
    change.keep_until(now + SHARDS_KEPT_FOR).if_absent("finished").if_below("free_at", seconds + 1)
    if change_item(table, change):
        return Taken()
    # Nothing there: whoever worked it has let go of it since.
    taken = row_of(Taken, {"free_at": seconds, **(read_item(table, _key(step)) or {})})
    if taken is None:
        raise DamagedRowError(
            f"The row {_key(step)['id']} of the stack's table is damaged. Delete it: the shard is worked again."
        )
    return taken


def let_go(table: Table, step: str) -> None:
    """Let go of a step that was taken and could not be finished, so that the next attempt need not wait."""
    change_item(table, Change(_key(step)).remove("free_at"))


def note_finished(table: Table, step: str, now: datetime) -> None:
    """Note that a step of a shard is finished: its batches, and the message with the rest, are on their queues."""
    change = Change(_key(step)).set({"finished": now.isoformat()}).keep_until(now + SHARDS_KEPT_FOR)
    change_item(table, change.remove("free_at"))


def _key(step: str) -> dict[str, str]:
    return {"id": f"shard#{step}"}
