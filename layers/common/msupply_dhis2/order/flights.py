"""Which messages are being sent to DHIS2 now: what began earlier, and is older, must land before what is newer.

One item of the stack's table holds them, an attribute each, so that whoever takes off sees at once who was in the air
before, at whatever address of DHIS2. Two functions push at a time; so few are ever there.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.dynamodb import read_item
from msupply_dhis2.errors import ConfigurationError, MsupplyDhis2Error
from msupply_dhis2.order.stamp import Stamp

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

LOOK_AGAIN_SECONDS = 2.0
LANDS_WITHIN_SECONDS = 120
"""After a call without an answer: DHIS2 may go on importing what it was sent."""

MOST_ORG_UNITS = 250
"""A flight tells no more of them: the item is written for each message. A payload is cut squarish, so it has few."""

_KEY = {"id": "flights"}
_PREFIX = "flight_"
_DIGEST_BYTES = 4


class InTheAirError(MsupplyDhis2Error):
    """Another message has to land first."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A message on its way.

    Attributes
    ----------
    message
        The batch with its sending.
    periods
        The oldest and the newest stamp of the values of each period.
    org_units
        Whose values they are, by ``org_units_of``; none stands for any.
    """

    message: str
    periods: Mapping[str, tuple[Stamp, Stamp]]
    org_units: frozenset[bytes] = frozenset()

    def must_follow(self, other: "Flight") -> bool:
        """Tell whether the other has something older, for a period and an org unit of ours, than some of ours."""
        if self.org_units and other.org_units and self.org_units.isdisjoint(other.org_units):
            # Such as two shards of one run, of which the second was read later.
            return False
        return any(
            period in other.periods and other.periods[period][0] < newest
            for period, (_, newest) in self.periods.items()
        )


def org_units_of(org_units: Iterable[str]) -> frozenset[bytes]:
    """Give what a flight tells of its org units: a few bytes of a hash of each, or nothing where they are many.

    Two that share a hash make a message wait that need not.
    """
    digests = frozenset(blake2b(each.encode(), digest_size=_DIGEST_BYTES).digest() for each in set(org_units))
    return digests if len(digests) <= MOST_ORG_UNITS else frozenset()


class Flights:
    """The flights to DHIS2.

    Parameters
    ----------
    table
        Has the partition key ``id`` and the time-to-live attribute ``expires_at``.
    tell
        Is given what went wrong without doing harm.
    clock
        Seconds since 1970.
    sleep
        How to wait for some seconds.
    """

    def __init__(
        self,
        table: "Table",
        *,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._tell = tell
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def flight(self, flight: Flight, seconds: float, patience: float) -> Iterator[Callable[[], None]]:
        """Fly, once all that must land before has landed.

        Parameters
        ----------
        seconds
            How long it flies at most.
        patience
            How long others are waited for.

        Yields
        ------
        callable
            To be called where a call got no answer: others then wait a while longer for it, as they do where the
            work breaks off.

        Raises
        ------
        InTheAirError
            The others have not landed in time; or the same message is sent by another delivery just now.
        ConfigurationError
            The table refused.
        """
        name = f"{_PREFIX}{uuid4().hex}"
        linger = False

        def may_still_land() -> None:
            nonlocal linger
            linger = True

        before = self._take_off(name, flight, seconds)
        try:
            self._wait(flight, before, patience)
            try:
                yield may_still_land
            except BaseException:
                may_still_land()
                raise
        finally:
            try:
                self._land(name, flight if linger else None)
            except ConfigurationError as error:
                # What was sent has its fate; others wait for it a while longer than they need to.
                self._tell(f"That a message has been sent could not be noted. {error}")

    def _take_off(self, name: str, flight: Flight, seconds: float) -> dict[str, dict[str, Any]]:
        """Note a flight, and give those that are in the air."""
        now = self._clock()
        with aws_faults("noting which values are being sent", self._table.meta.client):
            item = self._table.update_item(
                Key=_KEY,
                UpdateExpression=f"SET {name} = :flight, expires_at = :end",
                ExpressionAttributeValues={
                    ":flight": _written(flight, int(now + seconds) + 1, is_over=False),
                    ":end": int(now + seconds) + 86_400,
                },
                ReturnValues="ALL_NEW",
            )["Attributes"]
        others: dict[str, Any] = {
            each: held for each, held in item.items() if each.startswith(_PREFIX) and each != name
        }
        crashed = [each for each, held in others.items() if int(held["until"]) < now]
        if crashed:
            self._remove(crashed)
        return {each: held for each, held in others.items() if each not in crashed}

    def _wait(self, flight: Flight, before: dict[str, dict[str, Any]], patience: float) -> None:
        if any(held["message"] == flight.message and not held["is_over"] for held in before.values()):
            raise InTheAirError("Another delivery of the same message is being sent just now.")
        ahead = {each for each, held in before.items() if flight.must_follow(_read(held))}
        until = self._clock() + patience
        while ahead:
            if self._clock() >= until:
                raise InTheAirError(
                    "Older values for the same periods and org units are still being sent: these must follow them, so "
                    "that DHIS2 ends with the newer ones."
                )
            self._sleep(LOOK_AGAIN_SECONDS)
            item: Any = read_item(self._table, _KEY, "reading which values are being sent") or {}
            now = self._clock()
            ahead = {each for each in ahead if each in item and int(item[each]["until"]) >= now}

    def _land(self, name: str, lingering: Flight | None) -> None:
        if lingering is None:
            self._remove([name])
            return
        until = int(self._clock()) + LANDS_WITHIN_SECONDS
        with aws_faults("noting which values may still arrive", self._table.meta.client):
            self._table.update_item(
                Key=_KEY,
                UpdateExpression=f"SET {name} = :flight",
                ExpressionAttributeValues={":flight": _written(lingering, until, is_over=True)},
            )

    def _remove(self, names: list[str]) -> None:
        with aws_faults("noting which values are sent", self._table.meta.client):
            self._table.update_item(Key=_KEY, UpdateExpression=f"REMOVE {', '.join(names)}")


def _written(flight: Flight, until: int, *, is_over: bool) -> dict[str, Any]:
    return {
        "message": flight.message,
        "periods": {
            period: [str(oldest), str(newest)] for period, (oldest, newest) in flight.periods.items()
        },
        "org_units": b"".join(sorted(flight.org_units)),
        "until": until,
        "is_over": is_over,
    }


def _read(held: dict[str, Any]) -> Flight:
    org_units = bytes(held["org_units"])
    return Flight(
        str(held["message"]),
        {
            str(period): (Stamp.parse(str(oldest)), Stamp.parse(str(newest)))
            for period, (oldest, newest) in held["periods"].items()
        },
        frozenset(
            org_units[start : start + _DIGEST_BYTES] for start in range(0, len(org_units), _DIGEST_BYTES)
        ),
    )
