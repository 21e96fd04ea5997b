"""Sending values so that all that can get in do, and finding those that cannot.

Up to 2.42 DHIS2 refuses rows one by one. From 2.43 one wrong value refuses every value of the call: the guilty
ones are found from what the answer names, else by halving, and the others are sent again. Where a call is too
large or fails, it is halved too. All of it is bounded; what is left when time or calls are used up waits.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from msupply_dhis2.dhis2.client import Answer, Dhis2Client
from msupply_dhis2.dhis2.error_catalogue import CALL_REFUSED, FAILS_ALONE
from msupply_dhis2.dhis2.guilty import GuiltySearch, Places, Reasons, halves, is_for_all
from msupply_dhis2.dhis2.import_request import Schemes, SentValue, request_body, request_parameters
from msupply_dhis2.dhis2.import_summary import ImportSummary, read_import_summary
from msupply_dhis2.domain.outcome import Extent, Reason, ValueOutcome, rejected
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)
from msupply_dhis2.periods import find_period
from msupply_dhis2.text import count

CALL_SECONDS = 20.0
"""How long a call should take at most: well below the 60 seconds after which proxies give up by default."""

_ENOUGH_TO_TELL = 50
"""With fewer values a call's own costs (0.1 to 0.4 s) hide what a value costs."""

_SECONDS_A_VALUE = 1 / 3_000
"""As long as fast servers take."""

_SMALLEST = 10

LONGEST_CALL = 240.0
"""Seconds that an answer is waited for: servers of 5 values a second exist."""

_LEAST_SECONDS = 10.0
"""With less time left no call is begun: it would be cut off, and nobody would learn what became of it."""

_SEARCH_CALLS = 100
"""How many more calls a delivery may cost because of refused values."""

_FAULTS_WITHOUT_SUCCESS = 8
"""After so many failures of the server (500) without any success the fault is not in the values."""

_PERIOD_INVALID = "E7611"
"""Up to 2.42 also what one of two calls gets that use a new period for the first time at the same moment."""

_MOST_RACES = 3
"""So often a value whose period is right is sent again because DHIS2 says that it is not."""

_STALE = frozenset({_PERIOD_INVALID, "E7632", "E7644"})
"""Up to 2.42 also what every value gets for some minutes after metadata were imported: DHIS2 keeps what it read before.
E7611 is taken for that where sending again at once has not helped."""

_SAID = 300
"""Characters of what DHIS2 said of several values."""


class AdaptiveBatchSize:
    """What was learnt from the calls so far: how many values a call may hold, ``None`` for as many as the setting allows."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.seconds_a_value = _SECONDS_A_VALUE
        """How long the last call of more than a few values took for each of them."""
        self._ceiling: int | None = None
        """What a proxy refused: that stands, since to try it again would only cost calls."""

    def values(self, setting: int) -> int:
        """Return how many values a call may hold, where "No. of items per payload" allows ``setting``."""
        return setting if self.limit is None else min(setting, self.limit)

    def took(self, values: int, seconds: float) -> None:
        """Learn from an answer: so many values took so long."""
        if values < _ENOUGH_TO_TELL and (self.limit is None or values < self.limit):
            return
        self.seconds_a_value = seconds / max(values, 1)
        affordable = max(int(values * CALL_SECONDS / max(seconds, 0.001)), _SMALLEST)
        if seconds > CALL_SECONDS:
            self._restrict(affordable)
        elif self.limit is not None:
            # Grown step by step: what was too much for the server a moment ago may be so again.
            grown = min(affordable, 2 * self.limit)
            self.limit = grown if self._ceiling is None else min(grown, self._ceiling)

    def too_slow(self, values: int) -> None:
        """Learn that no answer came in time."""
        if values >= 2 * _SMALLEST:
            self._restrict(values // 2)

    def too_large(self, values: int) -> None:
        """Learn that a call was refused for its size."""
        self._restrict(values // 2)
        self._ceiling = self.limit

    def forget_limit(self, setting: int) -> None:
        """Forget a limit that the setting is below anyway."""
        if self.limit is not None and self.limit >= setting:
            self.limit = None

    def _restrict(self, values: int) -> None:
        self.limit = max(values if self.limit is None else min(values, self.limit), 1)


@dataclass(slots=True, kw_only=True)
class Imported:
    """What became of values that were sent, by their places in the batch. Those without an outcome wait, because of ``failure``.

    ``answered``: DHIS2 judged any of the values. ``refused_all`` is why it does not take calls like these at all; what they
    were about is among the rejected. ``may_still_be_applied``: a call got no answer of DHIS2's, and may be stored later.
    """

    outcomes: dict[int, ValueOutcome] = field(default_factory=dict)
    answered: bool = False
    refused_all: Dhis2Error | None = None
    failure: Dhis2AuthenticationError | Dhis2TransientError | None = None
    may_still_be_applied: bool = False


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls are made for one batch, and what came of them.

    ``maximum_values`` is "No. of items per payload". ``are_in_data_set``: the metadata that were read just now have all data
    elements and org units in the data set. ``lock_exceptions`` are org unit and period of the exceptions from the expiry
    days, ``""`` for all org units; ``None`` where not known.
    """

    result: Imported
    client: Dhis2Client
    batch_size: AdaptiveBatchSize
    data_set_id: str
    schemes: Schemes
    maximum_values: int
    seconds_left: Callable[[], float]
    pause: Callable[[float], None] = time.sleep
    deletes: bool = False
    are_in_data_set: bool = False
    lock_exceptions: Collection[tuple[str, str]] | None = None


def send(rows: Mapping[int, SentValue], calls: Calls, *, try_again: bool = True) -> list[ImportSummary]:
    """Send rows, given by their places in the batch, and note what became of them.

    Returned are the calls of which DHIS2 does not account for all values: what those count as, by their places, that were not
    refused. ``try_again`` tells whether a call may be repeated at once. A zero that removes what stands in its cell may not be: sent
    twice, DHIS2 would store it after all.
    """
    sending = _Sending(rows, calls, try_again=try_again)
    sending.make_calls()
    sending.try_suspects()
    sending.tell_stale()
    return sending.unclear


class _Sending:
    """Calls that wait to be made, by the places of their values."""

    def __init__(self, rows: Mapping[int, SentValue], calls: Calls, *, try_again: bool) -> None:
        self.unclear: list[ImportSummary] = []
        self._rows = rows
        self._calls = calls
        self._result = calls.result
        self._try_again = try_again
        self._search = GuiltySearch(rows, calls.lock_exceptions)
        self._parameters = request_parameters(
            calls.schemes, deletes=calls.deletes, are_in_data_set=calls.are_in_data_set
        )
        self._pending: deque[Places] = deque([tuple(rows)] if rows else [])
        self._answers = 0
        self._raced: Counter[int] = Counter()
        self._searches = 0
        self._faults = 0
        self._repeated: set[Places] = set()
        """Calls that are made once more because the import broke off."""
        self._suspects: list[int] = []
        """Values with which a call failed although they were alone in it."""
        self._last_tries: frozenset[int] = frozenset()
        """Those of them that are tried once more, now that others got in."""
        self._stale: dict[int, Reason] = {}
        """Values that DHIS2 refuses against its own metadata."""

    def make_calls(self) -> None:
        """Make calls until every value has an outcome, or what is left has to wait."""
        calls = self._calls
        while self._pending and self._result.failure is None:
            places = self._pending.popleft()
            if len(places) > (most := calls.batch_size.values(calls.maximum_values)):
                # The rest is cut when it is its turn: by then a call may hold more.
                self._pending.extendleft((places[most:], places[:most]))
            elif calls.seconds_left() <= _LEAST_SECONDS:
                self._result.failure = Dhis2TransientError(_TIME_IS_UP, retry_after=1.0)
            else:
                rows = [self._rows[place] for place in places]
                try:
                    answer = calls.client.post_data_values(
                        request_body(calls.data_set_id, rows, calls.schemes),
                        self._parameters,
                        read_timeout=max(min(LONGEST_CALL, calls.seconds_left() - _LEAST_SECONDS / 2), 1.0),
                    )
                except Dhis2Error as error:
                    self._result.may_still_be_applied |= error.may_still_be_applied
                    self._meet_error(places, error)
                else:
                    calls.batch_size.took(len(places), answer.seconds)
                    self._read(places, answer)

    def _meet_error(self, places: Places, error: Dhis2Error) -> None:
        match error:
            case Dhis2TooLargeError():
                self._calls.batch_size.too_large(len(places))
                if len(places) > 1:
                    self._pending.extendleft(reversed(halves(places)))
                else:
                    self._reject(places, Reason(FAILS_ALONE, "This value alone is too large for a call"))
            case Dhis2FaultError():
                self._meet_fault(places, error)
            case Dhis2AuthenticationError() | Dhis2TransientError():
                # Also where no answer came: the import may still be running, and the same values would get in its way.
                self._result.failure = error
                if isinstance(error, Dhis2SlowError):
                    self._calls.batch_size.too_slow(len(places))
            case _:
                self._refuse_all(places, error)

    def _read(self, places: Places, answer: Answer) -> None:
        try:
            summary = read_import_summary(answer, len(places), deletes=self._calls.deletes)
        except Dhis2TransientError as error:
            # The import broke off, as it does when two of them get in each other's way.
            if self._try_again and places not in self._repeated:
                self._repeated.add(places)
                self._repeat(places)
            else:
                self._result.failure = error
        except Dhis2PermanentError as error:
            self._refuse_all(places, error)
        else:
            self._answers += 1
            self._result.answered = True
            self._judge(places, summary)

    def _repeat(self, places: Places) -> None:
        """Make a call again: not at once, and not when the other one does, but in 0.2 to 1 second."""
        self._calls.pause(random.uniform(0.2, 1.0))  # noqa: S311 - no secret
        self._pending.appendleft(places)

    # Failures of the server

    def _meet_fault(self, places: Places, error: Dhis2FaultError) -> None:
        """Try again, then look for the value at fault by halving; unless the server fails at everything."""
        if self._last_tries.issuperset(places):
            text = "DHIS2 fails (status 500) whenever this value is sent, and does not when it is not"
            self._reject(places, Reason(FAILS_ALONE, text))
            return
        self._faults += 1
        fails_always = self._faults >= _FAULTS_WITHOUT_SUCCESS and not self._answers
        if not self._try_again or self._faults > _SEARCH_CALLS or fails_always:
            self._result.failure = error
        elif self._faults == 1:
            self._repeat(places)
        elif len(places) > 1:
            # Each half in its turn: whichever it is that the server fails at, soon something succeeds and shows that
            # the server works otherwise.
            self._pending.extend(self._search.parts(places))
        else:
            self._suspects.extend(places)

    def try_suspects(self) -> None:
        """Try once more, now that others got in, what failed alone; if nothing did, it is the server that fails."""
        failure = self._result.failure
        if not self._suspects:
            return
        if not self._answers or not (failure is None or isinstance(failure, Dhis2FaultError)):
            self._result.failure = failure or Dhis2FaultError(_FAILS_AT_ALL)
            return
        self._pending = deque((place,) for place in self._suspects)
        self._last_tries = frozenset(self._suspects)
        self._result.failure = None
        # The first that fails otherwise ends it: each of them with a refused login again would lock the account.
        self.make_calls()
        self._result.failure = self._result.failure or failure

    def tell_stale(self) -> None:
        """Have wait what DHIS2 refuses against its metadata."""
        if self._stale and self._result.failure is None:
            reasons = dict.fromkeys(f"{reason.text}, {reason.code}" for reason in self._stale.values())
            values, said = count(len(self._stale), "value"), "; ".join(reasons)[:_SAID]
            self._result.failure = Dhis2TransientError(_STALE_CACHE.format(values=values, said=said))

    def _refuse_all(self, places: Places, error: Dhis2Error) -> None:
        """Reject what was not sent yet, too: the same address and login would be refused again."""
        self._reject(chain(places, *self._pending), Reason(CALL_REFUSED, str(error), Extent.REQUEST))
        self._pending.clear()
        self._result.refused_all = error

    # Refused values

    def _judge(self, places: Places, summary: ImportSummary) -> None:
        """Take what the answer says of each value, and send again what was refused because of others."""
        accepted: dict[int, ValueOutcome] = {}
        certain: dict[int, Reasons] = {}
        doubtful: dict[int, Reasons] = {}
        again = []
        for place, outcome in zip(places, summary.outcomes.values(), strict=True):
            reasons = outcome.reasons
            if not reasons:
                accepted[place] = outcome
            elif any(reason.extent is not Extent.VALUE for reason in reasons):
                doubtful[place] = reasons
            elif self._may_be_a_race(place, reasons):
                again.append(place)
            elif self._rows[place].is_timely and all(reason.code in _STALE for reason in reasons):
                self._stale[place] = reasons[0]
            else:
                certain[place] = reasons
        if doubtful:
            self._find_guilty(certain, doubtful)
        else:
            self._reject_all(certain)
        if again:
            self._raced.update(again)
            self._repeat(tuple(again))
        if all(outcome.is_certain for outcome in accepted.values()):
            self._result.outcomes |= accepted
        else:
            self.unclear.append(replace(summary, outcomes=accepted))

    def _may_be_a_race(self, place: int, reasons: Sequence[Reason]) -> bool:
        # Nothing was stored of it, so also a value that may not be sent twice is sent again.
        return (
            self._raced[place] < _MOST_RACES
            and all(reason.code == _PERIOD_INVALID for reason in reasons)
            and find_period(self._rows[place].key.period) is not None
        )

    def _find_guilty(self, certain: dict[int, Reasons], doubtful: dict[int, Reasons]) -> None:
        """Find who is guilty of what refused them all, and send the others again."""
        everybody = certain | doubtful
        reasons = next(iter(doubtful.values()))
        if is_for_all(reasons) or len(everybody) == 1:
            self._reject_all(everybody)
            return
        guilty, suspects = self._search.guilty(certain, doubtful)
        self._reject_all(guilty)
        others = tuple(place for place in everybody if place not in guilty)
        if not others:
            return
        self._searches += 1
        if self._searches > _SEARCH_CALLS:
            said = "; ".join(dict.fromkeys(reason.text for reason in reasons))[:_SAID]
            self._result.failure = Dhis2TransientError(_NOT_FOUND_YET.format(said=said), retry_after=1.0)
        elif guilty and not suspects:
            self._pending.appendleft(others)
        else:
            self._pending.extendleft(reversed(self._search.parts(suspects or others, reasons)))
            if suspects and (free := tuple(place for place in others if place not in suspects)):
                self._pending.appendleft(free)

    def _reject(self, places: Iterable[int], reason: Reason) -> None:
        self._reject_all(dict.fromkeys(places, (reason,)))

    def _reject_all(self, reasons: Mapping[int, Reasons]) -> None:
        self._result.outcomes |= {place: rejected(*why) for place, why in reasons.items()}


_TIME_IS_UP = (
    "DHIS2 is too slow for all values of the batch in one invocation. The others follow in the next one."
)
_NOT_FOUND_YET = (
    "It is not known yet which of these values DHIS2 refuses. Values that wait are not rejected: the search goes on "
    "with the next delivery. DHIS2 says: {said}. Correct what it names, and all values go in at once."
)
_STALE_CACHE = (
    "DHIS2 refuses {values} ({said}), although its own metadata allow them, as it does for some minutes after an import "
    "of metadata. The values wait and are sent again. If it goes on, clear DHIS2's cache (Data Administration app, "
    "Maintenance, Clear application cache), or open the data set in DHIS2's Maintenance app and save it."
)
_FAILS_AT_ALL = "DHIS2 fails (status 500) whatever is sent. If it goes on, read DHIS2's server log."
