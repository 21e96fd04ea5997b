"""Which messages are in flight to DHIS2 now: what began earlier, and is older, must end before what is newer.

One item of the stack's table holds them, an attribute each: two functions push at a time, so few are ever there.

Of two calls at once into a period that is new to DHIS2 it loses one. So the item also tells which periods DHIS2 has been
seen to hold: into any other only one message is in flight at a time, whatever its age and its org units. A period that is
forgotten, as all are a day after the last message, costs only that.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from msupply_dhis2.aws.dynamodb import Binary, Change, Table, change_and_read, change_item, read_item, row_of
from msupply_dhis2.errors import AwsError, InFlightError
from msupply_dhis2.state.ordering.claims import Revision

LOOK_AGAIN_SECONDS = 2.0
APPLIED_WITHIN_SECONDS = 120
"""After a call without an answer: DHIS2 may go on importing what it was sent."""

MOST_ORG_UNITS = 250
"""A message tells no more of them: the item is written for each. A payload is cut squarish, so it has few."""

MOST_HELD_PERIODS = 500
"""With more of them, such as the days of years, only the latest are remembered: the item is written for each message."""

_KEY = {"id": "in-flight"}
_PREFIX = "message_"
_HELD_PERIODS = "held_periods"
_DIGEST_BYTES = 4


@dataclass(frozen=True, slots=True)
class InFlightMessage:
    """A message on its way, by its row in the table of runs; the oldest and the newest revision of each period's values.

    ``org_units`` tells whose values they are, by ``org_units_of``; none stands for any. It can be in flight ``until`` then, in
    epoch seconds. Where it ``is_over`` nothing of it is sent any more, but what was sent may still be applied.
    """

    run_id: str
    message: str
    periods: Mapping[str, tuple[Revision, Revision]]
    org_units: frozenset[Binary] = frozenset()
    until: int = 0
    is_over: bool = False

    def must_follow(self, other: "InFlightMessage") -> bool:
        """Return whether the other has something older, for a period and an org unit of ours, than some of ours."""
        if self.org_units and other.org_units and self.org_units.isdisjoint(other.org_units):
            # Such as two shards of one run, of which the second was read later.
            return False
        return any(
            period in other.periods and other.periods[period][0] < newest
            for period, (_, newest) in self.periods.items()
        )


@dataclass(slots=True)
class Ending:
    """What is known of how a message in flight ends, told by whoever sends it.

    It ``lingers`` where some of it may still be applied: a call got no answer, or what sends it broke off. ``held_periods``
    are those of its periods in which DHIS2 holds a value now.
    """

    lingers: bool = False
    held_periods: frozenset[str] = frozenset()


def org_units_of(org_units: Iterable[str]) -> frozenset[bytes]:
    """Return a few bytes of a hash of each of a message's org units, or nothing where they are many.

    Two that share a hash make a message wait that need not.
    """
    digests = frozenset(blake2b(each.encode(), digest_size=_DIGEST_BYTES).digest() for each in set(org_units))
    return digests if len(digests) <= MOST_ORG_UNITS else frozenset()


@dataclass(frozen=True, slots=True)
class InFlightMessages:
    """The messages in flight to DHIS2.

    ``tell`` is given what went wrong without doing harm, ``broke_off`` each message (run and row) whose delivery was found to
    have broken off, once, by whoever finds it; ``clock`` returns epoch seconds.
    """

    table: Table
    tell: Callable[[str], None]
    broke_off: Callable[[str, str], None]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    @contextmanager
    def in_flight(self, message: InFlightMessage, seconds: float, deadline: float) -> Iterator[Ending]:
        """Be in flight, for so many ``seconds`` at most, once all that must end before has ended.

        An InFlightError tells that they have not by the ``deadline``, or that another delivery sends the same message now.
        """
        name = f"{_PREFIX}{uuid4().hex}"
        ending = Ending()
        others, held_periods = self._begin(name, message, seconds)
        try:
            self._wait(message, others, held_periods, deadline)
            yield ending
        finally:
            try:
                self._end(name, message, ending, held_periods)
            except AwsError as error:
                # What was sent has its outcome; others wait for it a while longer than they need to.
                self.tell(f"It could not be noted that a message has been sent. {error}")

    def _begin(
        self, name: str, message: InFlightMessage, seconds: float
    ) -> tuple[dict[str, InFlightMessage], frozenset[str]]:
        """Note a message in flight, and return the others, and the periods that DHIS2 holds."""
        now = self.clock()
        change = _change(name, replace(message, until=int(now + seconds) + 1))
        item = change_and_read(self.table, change.set({"expires_at": int(now + seconds) + 86_400}))
        others: dict[str, InFlightMessage] = {}
        for each in item:
            if not each.startswith(_PREFIX) or each == name:
                continue
            other = row_of(InFlightMessage, item[each])
            if other is not None and other.until >= now:
                others[each] = other
                continue
            if other is None:
                self.tell(
                    f"{each} in the row in-flight of the stack's table cannot be read, and is taken away."
                )
            # Counted once, whoever else finds it at the same time.
            is_mine = change_item(self.table, Change(_KEY).remove(each).if_present(each))
            if is_mine and other is not None and not other.is_over:
                self.broke_off(other.run_id, other.message)
        held_periods: Any = item.get(_HELD_PERIODS)
        return others, frozenset(held_periods if isinstance(held_periods, set) else ())

    def _wait(
        self,
        message: InFlightMessage,
        others: Mapping[str, InFlightMessage],
        held_periods: frozenset[str],
        deadline: float,
    ) -> None:
        if any(other.message == message.message and not other.is_over for other in others.values()):
            raise InFlightError("Another delivery of the same message is being sent now.")
        older = {each for each, other in others.items() if message.must_follow(other)}
        new_periods = message.periods.keys() - held_periods
        ahead = older | {
            each
            for each, other in others.items()
            # One that is over and may still be applied need not: where two meet all the same, what is lost is sent again.
            if not other.is_over and not new_periods.isdisjoint(other.periods)
        }
        until = self.clock() + deadline
        while ahead:
            if self.clock() >= until:
                raise InFlightError(_OLDER_FIRST if ahead & older else _ALONE)
            self.sleep(LOOK_AGAIN_SECONDS)
            item = read_item(self.table, _KEY) or {}
            now = self.clock()
            held = {each: row_of(InFlightMessage, item.get(each)) for each in ahead}
            ahead = {each for each, other in held.items() if other is not None and other.until >= now}

    def _end(self, name: str, message: InFlightMessage, ending: Ending, held_periods: frozenset[str]) -> None:
        until = int(self.clock()) + APPLIED_WITHIN_SECONDS
        change = _change(name, replace(message, until=until, is_over=True) if ending.lingers else None)
        if new := set(ending.held_periods - held_periods):
            if held_periods and len(held_periods) + len(new) <= MOST_HELD_PERIODS:
                change.add({_HELD_PERIODS: new})
            else:
                change.set({_HELD_PERIODS: new})
        change_item(self.table, change)


def _change(name: str, message: InFlightMessage | None) -> Change:
    # DynamoDB has no empty set.
    held = message and {field: value for field, value in asdict(message).items() if value != frozenset()}
    return Change(_KEY).set({name: held})


_OLDER_FIRST = (
    "Older values for the same periods and org units are still being sent. These wait, so that DHIS2 ends with the "
    "newer ones."
)
_ALONE = (
    "The first values of a period are being sent now. These wait, because DHIS2 loses one of two calls at the same "
    "time for a period that is new to it."
)
