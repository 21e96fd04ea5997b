"""Sending values so that all that can get in do, and finding those that cannot.

Up to 2.42 DHIS2 refuses rows one by one. From 2.43 one wrong value refuses every value of the call: the guilty
ones are found from what the answer names, else by halving, and the others are sent again. Where a call is too
large or fails, it is halved too. All of it is bounded; what is left when time or patience is over waits.
"""

import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from msupply_dhis2.dhis2.batch_size import AdaptiveBatchSize
from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import CALL_REFUSED, FAILS_ALONE, HELD_BACK
from msupply_dhis2.dhis2.import_request import UIDS, DataValueRow, Schemes, request_body, request_parameters
from msupply_dhis2.dhis2.import_summary import Extent, ImportSummary, Reason, read_import_summary
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)
from msupply_dhis2.periods import find_period
from msupply_dhis2.text import count

LONGEST_CALL = 240.0
"""Seconds that an answer is waited for: servers of 5 values a second exist."""

_LEAST_SECONDS = 10.0
"""With less time left no call is begun: it would be cut off, and nobody would learn what became of it."""

_SEARCH_CALLS = 100
"""How many more calls a delivery may cost because of refused values."""

_FAULTS_WITHOUT_SUCCESS = 8
"""After so many failures of the server (500) without any success the fault is not in the values."""

_FOR_ALL = frozenset(
    {
        "E7600",
        "E7601",
        "E7602",
        "E8002",
        "E8003",
        "E8004",
        "E8005",
        "E8008",
        "E8009",
        "E8010",
        "E8126",
        "E8127",
    }
)
"""Codes about the data set or the call as a whole: no part of it would fare better."""

_PERIOD_INVALID = "E7611"
"""Up to 2.42 also what one of two calls gets that use a new period for the first time at the same moment."""

_MOST_RACES = 3
"""So often a value whose period is right is sent again because DHIS2 says that it is not."""

_FIELD_OF_UNKNOWN = {
    "E8103": "data_element",
    "E8104": "data_element",
    "E8106": "org_unit",
    "E8107": "org_unit",
    "E8108": "category_option_combo",
    "E8109": "category_option_combo",
    "E8110": "attribute_option_combo",
    "E8111": "attribute_option_combo",
}
_FIELDS_OF_GROUP = {
    "E8011": ("org_unit",),
    "E8012": ("attribute_option_combo", "category_option_combo"),
    "E8020": ("data_element",),
    "E8021": ("period",),
    "E8022": ("org_unit",),
    "E8023": ("attribute_option_combo",),
    "E8024": ("category_option_combo",),
    "E8025": ("attribute_option_combo", "org_unit"),
    "E8030": ("period", "org_unit"),
    "E8031": ("org_unit", "period"),
    "E8032": ("attribute_option_combo", "period"),
    "E8033": ("org_unit", "period", "attribute_option_combo"),
}
"""What decides, from 2.43, whether a row is guilty of the code for which its group is refused: rows that have these
fields in common are all guilty, or none is. The other codes may be about any field.

E8012 names the category option, which is a part of an option combo. E8030 names the period only, although expiry is
for each org unit and period."""

_LOCKED = "E8030"

_STALE = frozenset({_PERIOD_INVALID, "E7632", "E7644"})
"""Up to 2.42 also what every value gets for some minutes after metadata were imported: DHIS2 keeps what it read before.
E7611 is taken for that where sending again at once has not helped."""

_FIELDS = ("data_element", "org_unit", "period", "category_option_combo", "attribute_option_combo")
_MAY_BE_LEFT_OUT = {"E8023": "attribute_option_combo", "E8024": "category_option_combo"}
"""What is missing in a row where the answer names only the default combo, which nobody sent."""

_SAID = 300
"""Characters of what DHIS2 said of several values."""

_WORD = re.compile(r"\w+")


class PostsDataValues(Protocol):
    """The one thing that sending needs of a DHIS2 client."""

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post a data value set and give the server's answer."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """A call of which DHIS2 does not account for all values.

    Attributes
    ----------
    places
        The values that were not refused.
    unchanged, unaccounted, deleted
        The call's counts, as in ``ImportSummary``.
    unplaced
        Reasons that the server gave without saying for which value.
    """

    places: tuple[int, ...]
    unchanged: int
    unaccounted: int
    deleted: int
    unplaced: tuple[Reason, ...]


@dataclass(slots=True)
class ImportResult:
    """What became of the values, by their places.

    Attributes
    ----------
    applied
        The places of the values that are in DHIS2 now; of a delete, that are gone.
    unchanged
        How many of these DHIS2 says were there, or gone, before.
    rejected
        The reasons, by place.
    unclear
        Calls of which DHIS2 does not account for all values.
    waiting, failure
        The places that have no fate yet, and why.
    refused_all
        Why DHIS2 does not take calls like these at all; the values that it was about are among the rejected.
    answered
        Whether DHIS2 judged any value.
    may_still_be_applied
        Whether a call got no answer of DHIS2's: what it held may be stored later.
    """

    applied: list[int] = field(default_factory=list)
    unchanged: int = 0
    rejected: dict[int, tuple[Reason, ...]] = field(default_factory=dict)
    unclear: list[Unclear] = field(default_factory=list)
    waiting: frozenset[int] = frozenset()
    failure: Dhis2AuthenticationError | Dhis2TransientError | None = None
    refused_all: Dhis2Error | None = None
    answered: bool = False
    may_still_be_applied: bool = False


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls are made for one batch.

    Attributes
    ----------
    data_set_id, schemes
        What every call names.
    maximum_values
        "No. of items per payload".
    seconds_left
        How much time there is.
    pause
        Waits for so many seconds.
    deletes
        Whether the values are to be deleted.
    timely
        The places of the values whose period is open, and of the right type, by DHIS2's own metadata.
    lock_exceptions
        Org unit and period of the exceptions from the expiry days, ``""`` for all org units; ``None`` where not known.
    """

    client: PostsDataValues
    batch_size: AdaptiveBatchSize
    data_set_id: str
    schemes: Schemes
    maximum_values: int
    seconds_left: Callable[[], float]
    pause: Callable[[float], None] = time.sleep
    deletes: bool = False
    timely: Collection[int] = ()
    lock_exceptions: Collection[tuple[str, str]] | None = None

    @property
    def values(self) -> int:
        """How many values a call may hold now."""
        return self.batch_size.values(self.maximum_values)

    def with_metadata(
        self,
        data_set_id: str,
        *,
        timely: Collection[int],
        lock_exceptions: Collection[tuple[str, str]] | None,
    ) -> "Calls":
        """Return the same calls for rows that fit DHIS2's metadata: their identifiers are UIDs."""
        return replace(
            self, data_set_id=data_set_id, schemes=UIDS, timely=timely, lock_exceptions=lock_exceptions
        )

    def is_excepted(self, row: DataValueRow) -> bool:
        """Whether the expiry days do not count for the row's org unit and period."""
        return not {(row.org_unit, row.period), ("", row.period)}.isdisjoint(self.lock_exceptions or ())

    def is_time_left(self) -> bool:
        """Whether a call can be begun."""
        return self.seconds_left() > _LEAST_SECONDS

    def post(self, rows: Sequence[DataValueRow]) -> Answer:
        """Make one call.

        Raises
        ------
        Dhis2Error
            As the client does.
        """
        answer = self.client.post_data_values(
            request_body(self.data_set_id, rows, self.schemes),
            request_parameters(self.schemes, deletes=self.deletes),
            read_timeout=max(min(LONGEST_CALL, self.seconds_left() - _LEAST_SECONDS / 2), 1.0),
        )
        self.batch_size.took(len(rows), answer.seconds)
        return answer


def send(
    rows: Mapping[int, DataValueRow],
    calls: Calls,
    *,
    try_again: bool = True,
) -> ImportResult:
    """Send rows, given by their places in the batch.

    Parameters
    ----------
    try_again
        Whether a call may be repeated at once. A zero that removes what stands in its cell may not be: sent
        twice, DHIS2 would store it after all.
    """
    return _Importer(rows, calls, try_again=try_again).run()


type _Places = tuple[int, ...]


class _Importer:
    """The work of :func:`send`: calls that wait to be made, and what became of those that were."""

    def __init__(
        self,
        rows: Mapping[int, DataValueRow],
        calls: Calls,
        *,
        try_again: bool,
    ) -> None:
        self._rows = rows
        self._calls = calls
        self._try_again = try_again
        self._sent = ImportResult()
        self._pending: deque[_Places] = deque([tuple(rows)] if rows else [])
        self._repeated: set[_Places] = set()
        self._raced: Counter[int] = Counter()
        self._searches = 0
        self._faults = 0
        self._depth: dict[_Places, int] = {}
        """How often what a call holds was halved because the server failed at it."""
        self._suspects: list[int] = []
        """Values with which a call fails although they are alone in it."""
        self._stale: dict[int, Reason] = {}
        """Values that DHIS2 refuses against its own metadata."""

    def run(self) -> ImportResult:
        """Make the calls until every value has a fate, or what is left has to wait."""
        self._make_calls()
        self._try_suspects()
        # What a suspect's call ended with may ask for another one.
        self._make_calls()
        self._sent.waiting |= {place for places in self._pending for place in places}
        if self._stale:
            self._sent.waiting |= self._stale.keys()
            said = "; ".join(
                dict.fromkeys(f"{reason.text}, {reason.code}" for reason in self._stale.values())
            )
            self._sent.failure = self._sent.failure or Dhis2TransientError(
                _STALE_CACHE.format(values=count(len(self._stale), "value"), said=said[:_SAID])
            )
        return self._sent

    def _make_calls(self) -> None:
        while self._pending and self._sent.failure is None:
            places = self._pending.popleft()
            if len(places) > (most := self._calls.values):
                # The rest is cut when it is its turn: by then a call may hold more.
                self._pending.extendleft((places[most:], places[:most]))
                continue
            if not self._calls.is_time_left():
                self._wait(places, Dhis2TransientError(_TIME_IS_UP, retry_after=1.0))
                continue
            self._make_call(places)

    def _make_call(self, places: _Places) -> None:
        try:
            answer = self._post(places)
        except Dhis2TooLargeError:
            self._calls.batch_size.too_large(len(places))
            if len(places) > 1:
                self._pending.extendleft(reversed(_halves(places)))
            else:
                self._reject(places, Reason(FAILS_ALONE, "This value alone is too large for a call"))
        except Dhis2SlowError as error:
            # The import may still be running: the same values at once would get in its way.
            self._calls.batch_size.too_slow(len(places))
            self._wait(places, error)
        except Dhis2FaultError as error:
            self._meet_fault(places, error)
        except (Dhis2AuthenticationError, Dhis2TransientError) as error:
            self._wait(places, error)
        except Dhis2Error as error:
            self._refuse_all(places, error)
        else:
            self._read(places, answer)

    def _post(self, places: _Places) -> Answer:
        try:
            return self._calls.post([self._rows[place] for place in places])
        except Dhis2Error as error:
            self._sent.may_still_be_applied |= error.may_still_be_applied
            raise

    def _read(self, places: _Places, answer: Answer) -> None:
        try:
            outcome = read_import_summary(answer, len(places), deletes=self._calls.deletes)
        except Dhis2TransientError as error:
            # The import broke off, as it does when two of them get in each other's way.
            if self._may_repeat(places):
                self._repeat(places)
            else:
                self._wait(places, error)
        except Dhis2Error as error:
            self._refuse_all(places, error)
        else:
            self._sent.answered = True
            self._judge(places, outcome)

    # Failures of the server

    def _may_repeat(self, places: _Places) -> bool:
        return self._try_again and places not in self._repeated

    def _repeat(self, places: _Places) -> None:
        self._repeated.add(places)
        self._pause()
        self._pending.appendleft(places)

    def _pause(self) -> None:
        # Not at once, and not when the other one does: 0.2 to 1 second.
        self._calls.pause(random.uniform(0.2, 1.0))  # noqa: S311 - no secret

    def _meet_fault(self, places: _Places, error: Dhis2FaultError) -> None:
        """Try again, then look for the value at fault by halving; unless the server fails at everything."""
        self._faults += 1
        depth = self._depth.get(places, 0)
        if (
            not self._try_again
            or self._faults > _SEARCH_CALLS
            or (self._faults >= _FAULTS_WITHOUT_SUCCESS and not self._sent.answered)
        ):
            self._wait(places, error)
        elif depth == 0 and self._may_repeat(places):
            self._repeat(places)
        elif len(places) > 1:
            # Now along data elements, now along org units, and each half in its turn: whichever it is that
            # the server fails at, soon something succeeds and shows that the server works otherwise.
            first, second = ("data_element", "org_unit")[:: 1 if depth % 2 == 0 else -1]
            for part in self._parts(places, first=(first, second)):
                self._depth[part] = depth + 1
                self._pending.append(part)
        else:
            self._suspects.extend(places)

    def _try_suspects(self) -> None:
        """Try once more, now that others got in, what failed alone; if nothing did, it is the server that fails."""
        failure = self._sent.failure
        if not self._suspects:
            return
        if not self._sent.answered or not (failure is None or isinstance(failure, Dhis2FaultError)):
            self._wait(self._suspects, failure or Dhis2FaultError(_FAILS_AT_ALL))
            return
        suspects, self._suspects = deque(self._suspects), []
        while suspects:
            place = suspects.popleft()
            if not self._calls.is_time_left():
                self._wait([place, *suspects], Dhis2TransientError(_TIME_IS_UP, retry_after=1.0))
                return
            try:
                answer = self._post((place,))
            except Dhis2FaultError:
                text = "DHIS2 fails (status 500) whenever this value is sent, and does not when it is not"
                self._reject([place], Reason(FAILS_ALONE, text))
            except (Dhis2AuthenticationError, Dhis2TransientError) as error:
                # Above all a refused login: each of them with it again would lock the account.
                self._wait([place, *suspects], error)
                return
            except Dhis2Error as error:
                self._refuse_all((place, *suspects), error)
                return
            else:
                self._read((place,), answer)

    def _wait(self, places: Iterable[int], error: Dhis2AuthenticationError | Dhis2TransientError) -> None:
        self._sent.waiting |= frozenset(places)
        self._sent.failure = error

    def _refuse_all(self, places: _Places, error: Dhis2Error) -> None:
        """Reject what was not sent yet, too: the same address and login would be refused again."""
        reason = Reason(CALL_REFUSED, str(error), Extent.REQUEST)
        self._reject([*places, *(place for waiting in self._pending for place in waiting)], reason)
        self._pending.clear()
        self._sent.refused_all = error

    # Refused values

    def _judge(self, places: _Places, outcome: ImportSummary) -> None:
        """Take what the answer says of each value, and send again what was refused on account of others."""
        certain: dict[int, tuple[Reason, ...]] = {}
        doubtful: dict[int, tuple[Reason, ...]] = {}
        again = []
        for rejection in outcome.rejected:
            place, reasons = places[rejection.index], rejection.reasons
            if any(reason.extent is not Extent.VALUE for reason in reasons):
                doubtful[place] = reasons
            elif self._may_be_a_race(place, reasons):
                again.append(place)
            elif place in self._calls.timely and all(reason.code in _STALE for reason in reasons):
                self._stale[place] = reasons[0]
            else:
                certain[place] = reasons
        if doubtful:
            self._search(certain, doubtful)
        else:
            self._sent.rejected |= certain
        if again:
            self._raced.update(again)
            self._pause()
            self._pending.appendleft(tuple(again))
        refused = certain.keys() | doubtful.keys() | self._stale.keys() | set(again)
        self._keep_counts(tuple(place for place in places if place not in refused), outcome)

    def _may_be_a_race(self, place: int, reasons: Sequence[Reason]) -> bool:
        # Nothing was stored of it, so also a value that may not be sent twice is sent again.
        return (
            self._raced[place] < _MOST_RACES
            and all(reason.code == _PERIOD_INVALID for reason in reasons)
            and find_period(self._rows[place].period) is not None
        )

    def _keep_counts(self, accepted: _Places, outcome: ImportSummary) -> None:
        if outcome.unaccounted or outcome.deleted:
            unclear = Unclear(
                accepted, outcome.unchanged, outcome.unaccounted, outcome.deleted, outcome.unplaced
            )
            self._sent.unclear.append(unclear)
        else:
            self._sent.applied += accepted
            self._sent.unchanged += outcome.unchanged

    def _search(
        self, certain: dict[int, tuple[Reason, ...]], doubtful: dict[int, tuple[Reason, ...]]
    ) -> None:
        """Find who is guilty of what refused them all, and send the others again."""
        everybody = certain | doubtful
        reasons = next(iter(doubtful.values()))
        if any(reason.code in _FOR_ALL for reason in reasons) or len(everybody) == 1:
            self._sent.rejected |= everybody
            return
        guilty, suspects = self._guilty(certain, doubtful)
        self._sent.rejected |= guilty
        others = tuple(place for place in everybody if place not in guilty)
        if not others:
            return
        self._searches += 1
        if self._searches > _SEARCH_CALLS:
            said = "; ".join(dict.fromkeys(reason.text for reason in reasons))[:_SAID]
            self._wait(others, Dhis2TransientError(_NOT_FOUND_YET.format(said=said), retry_after=1.0))
        elif guilty and not suspects:
            self._pending.appendleft(others)
        else:
            free = tuple(place for place in others if place not in suspects) if suspects else ()
            self._pending.extendleft(reversed(self._parts(suspects or others, reasons)))
            if free:
                self._pending.appendleft(free)

    def _guilty(
        self, certain: Mapping[int, tuple[Reason, ...]], doubtful: Mapping[int, tuple[Reason, ...]]
    ) -> tuple[dict[int, tuple[Reason, ...]], _Places]:
        """Find the values that the answer names, and those that share with them what is wrong.

        Returns
        -------
        tuple
            The guilty, and those among whom the others are that the answer means, where it tells so much.
        """
        guilty = dict(certain)
        suspects: dict[int, None] = {}
        for place, reasons in certain.items():
            for reason in reasons:
                name = _FIELD_OF_UNKNOWN.get(reason.code)
                for other in doubtful if name else ():
                    if getattr(self._rows[other], str(name)) == getattr(self._rows[place], str(name)):
                        guilty[other] = (reason,)
        for reason in dict.fromkeys(reason for reasons in doubtful.values() for reason in reasons):
            if reason.code == HELD_BACK or reason.extent is not Extent.GROUP:
                continue
            among = [place for place, why in doubtful.items() if reason in why]
            meant, is_certain = self._meant(reason, among)
            if is_certain:
                for place in meant:
                    guilty[place] = (*guilty.get(place, ()), replace(reason, extent=Extent.VALUE))
            else:
                suspects |= dict.fromkeys(meant)
        return guilty, tuple(place for place in suspects if place not in guilty)

    def _meant(self, reason: Reason, places: Sequence[int]) -> tuple[Sequence[int], bool]:
        """Find those of the values that a reason can mean, and tell whether it means each of them."""
        words = set(_WORD.findall(reason.text))
        deciding = _FIELDS_OF_GROUP.get(reason.code, ())
        named = [
            name for name in _FIELDS if any(getattr(self._rows[place], name) in words for place in places)
        ]
        left_out = _MAY_BE_LEFT_OUT.get(reason.code)
        if left_out is not None and left_out not in named:
            # It names the default combo, which nobody sent: the rows that have none.
            lacking = [place for place in places if getattr(self._rows[place], left_out) is None]
            places, deciding = lacking or places, () if lacking else deciding
        found = [
            place for place in places if all(getattr(self._rows[place], name) in words for name in named)
        ]
        if reason.code == _LOCKED and "period" in named and self._calls.lock_exceptions is not None:
            # Refused together: the exceptions may be innocent. Alone: then it is not on account of the expiry days.
            bound = [place for place in found if not self._calls.is_excepted(self._rows[place])]
            return bound or found, True
        if reason.code in _FIELDS_OF_GROUP:
            unnamed = [name for name in deciding if name not in named]
            return found, len({self._values(place, unnamed) for place in found}) == 1
        # What all have in common, the period say, tells nothing where it is not known what decides.
        return (found, True) if len(found) < len(places) else ((), False)

    def _values(self, place: int, names: Iterable[str]) -> tuple[str | None, ...]:
        return tuple(getattr(self._rows[place], name) for name in names)

    def _parts(
        self, places: _Places, reasons: Sequence[Reason] = (), first: Sequence[str] = ()
    ) -> list[_Places]:
        """Halve along a field, first of all along those that decide: the guilty ones share its value."""
        if any(reason.code == _LOCKED for reason in reasons):
            org_units = dict.fromkeys(self._rows[place].org_unit for place in places)
            if len(org_units) > 1:
                # Nearly all of them are guilty as a rule: halving would cost twice as many calls.
                return [
                    tuple(place for place in places if self._rows[place].org_unit == org_unit)
                    for org_unit in org_units
                ]
        deciding = [name for reason in reasons for name in _FIELDS_OF_GROUP.get(reason.code, ())]
        for name in (*first, *deciding, *_FIELDS):
            values = list(dict.fromkeys(getattr(self._rows[place], name) for place in places))
            if len(values) > 1:
                left = set(values[: len(values) // 2])
                return [
                    tuple(place for place in places if getattr(self._rows[place], name) in left),
                    tuple(place for place in places if getattr(self._rows[place], name) not in left),
                ]
        return _halves(places)

    def _reject(self, places: Iterable[int], reason: Reason) -> None:
        self._sent.rejected |= dict.fromkeys(places, (reason,))


def _halves(places: _Places) -> list[_Places]:
    middle = len(places) // 2
    return [places[:middle], places[middle:]]


_TIME_IS_UP = (
    "DHIS2 is too slow for all values of the batch in one invocation: the others follow with the next one."
)
_NOT_FOUND_YET = (
    "The calls that one delivery may cost did not show yet which of these values DHIS2 refuses. None of those that wait is "
    "rejected: the search goes on with the next delivery. DHIS2 says: {said}. Correct what it names, and all go in at once."
)
_STALE_CACHE = (
    "DHIS2 refuses {values} ({said}), although its own metadata allow them. That happens for some minutes after metadata were "
    "imported, because DHIS2 still uses what it read before. The values wait and are sent again. If it goes on, clear DHIS2's "
    "cache (Data Administration app, Maintenance, Clear application cache), or open the data set in DHIS2's Maintenance app "
    "and save it."
)
_FAILS_AT_ALL = "DHIS2 fails (status 500) whatever is sent. If it goes on, read DHIS2's server log."
