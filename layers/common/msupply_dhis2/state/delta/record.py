"""What is remembered of one org unit in one period: what DHIS2 may hold for each value.

A value is on its way from when it is put on the queue until push has noted its outcome. Until then it may still arrive,
at any time, also after newer ones (a redriven dead letter does). So each value is remembered as the last one that is
confirmed, and the *attempts* since. Only where all that follows from them is one and the same value is it known what
DHIS2 holds.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from itertools import islice
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from msupply_dhis2.aws.dynamodb import reader_of
from msupply_dhis2.domain.data_value import Column, DataValue, Identifier, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.message import DeliveryState

OVERLAP_SECONDS = 900
"""What was applied less than this before something else began may have come after it: clocks differ a little, and a slow
DHIS2 goes on with a call that nobody waits for any more."""

SETTLED_SECONDS = 3600
"""So long after it was applied no second delivery of the same message, begun before, can still be at work."""

TRACKED_FOR = timedelta(days=30)
"""How long a batch may take to arrive: 12 days on the queue, 14 as a dead letter, and some to fix what kept it."""

_FORMAT: Final = 2


class NoValue(IntEnum):
    """What DHIS2 holds where it is not a value that we sent; numbers, because values are texts."""

    GONE = 0
    UNKNOWN = 1


type Held = str | NoValue
"""What DHIS2 may hold for a key: a value, nothing, or something that is not known."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a value, with an index in its batch, was put on the queue; ``value`` is ``None`` for a deletion.

    After ``until`` (epoch seconds) push no longer takes the message for ours, so that nothing of it can arrive unnoticed.
    """

    batch_id: str
    attempt_id: str
    until: int
    index: int
    value: str | None

    @property
    def held(self) -> Held:
        """What DHIS2 holds once it is applied."""
        return NoValue.GONE if self.value is None else self.value

    def receipt(self, receipts: "Receipts") -> DeliveryState | None:
        """Return the receipt that tells of it, once its value has an outcome."""
        receipt = receipts.get((self.batch_id, self.attempt_id))
        return receipt if receipt is not None and self.index in receipt.settled else None

    def arrival(self, receipts: "Receipts", now: float) -> "_Arrival | None":
        """Return when and with what it arrived; ``None`` while it may still."""
        if (receipt := self.receipt(receipts)) is not None:
            # What was refused may yet have changed something: a zero that is not kept removes what stood there.
            held = self.held if self.index in receipt.applied else NoValue.UNKNOWN
            return _Arrival(receipt.began, receipt.ended, held)
        # After that it never arrived, or its receipt has expired.
        return None if now <= self.until else _Arrival(0.0, float(self.until), NoValue.UNKNOWN)


type Receipts = Mapping[tuple[str, str], DeliveryState]
"""What push noted of messages, by batch id and attempt id."""


class _Arrival(NamedTuple):
    """What arrived at DHIS2, and when: not before ``began``, not after ``ended``."""

    began: float
    ended: float
    held: Held


@dataclass(slots=True)
class Entry:
    """What is remembered of one value.

    DHIS2 held ``confirmed`` for certain before the attempts, and ``acknowledged`` last; ``None`` where that was deleted.
    """

    metric: Metric
    scheme: Scheme
    store: str
    item: str
    confirmed: Held = NoValue.UNKNOWN
    acknowledged: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    kind: Kind = Kind.STORE

    def holds(self, receipts: Receipts, now: float, invalid_until: float) -> frozenset[Held]:
        """Return all that DHIS2 may hold, now or once what is on its way has arrived."""
        arrivals = [(attempt, attempt.arrival(receipts, now)) for attempt in self.attempts]
        still_open = {attempt.held for attempt, arrival in arrivals if arrival is None}
        return self._last([arrival for _, arrival in arrivals if arrival], invalid_until) | still_open

    def _last(self, arrivals: list[_Arrival], invalid_until: float) -> frozenset[Held]:
        """Return what may have arrived last."""
        if not arrivals:
            return frozenset({self.confirmed})
        if invalid_until:
            # Of what arrived unnoted nothing is known but that it had by then.
            arrivals = [*arrivals, _Arrival(0.0, invalid_until, NoValue.UNKNOWN)]
        latest = max(arrival.began for arrival in arrivals)
        return frozenset(arrival.held for arrival in arrivals if arrival.ended + OVERLAP_SECONDS >= latest)

    def settle(self, receipts: Receipts, now: float, invalid_until: float) -> bool:
        """Forget the attempts of which nothing can come any more, keep what they came to; tell whether any was forgotten."""
        self._acknowledge(receipts)
        over: list[tuple[Attempt, _Arrival]] = []
        alive: list[Attempt] = []
        latest = 0.0
        for attempt in self.attempts:
            arrival = attempt.arrival(receipts, now)
            if arrival is None or now <= arrival.ended + SETTLED_SECONDS:
                alive.append(attempt)
                latest = max(latest, arrival.began if arrival else 0.0)
            else:
                over.append((attempt, arrival))
        if not over:
            return False
        kept = alive
        if latest:
            # Of those that are over only the ones matter that may have come after one that is not.
            kept = [attempt for attempt, arrival in over if arrival.ended + OVERLAP_SECONDS >= latest] + alive
        else:
            last = self._last([arrival for _, arrival in over], invalid_until)
            self.confirmed = next(iter(last)) if len(last) == 1 else NoValue.UNKNOWN
        is_less = len(kept) < len(self.attempts)
        self.attempts = kept
        return is_less

    def _acknowledge(self, receipts: Receipts) -> None:
        """Keep what was applied last; what DHIS2 refused, a value or a deletion, changes nothing about that."""
        applied = [
            (receipt.ended, number)
            for number, attempt in enumerate(self.attempts)
            if (receipt := attempt.receipt(receipts)) is not None and attempt.index in receipt.applied
        ]
        if applied:
            self.acknowledged = self.attempts[max(applied)[1]].value

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.attempts and self.acknowledged is None and isinstance(self.confirmed, NoValue)


@dataclass(slots=True)
class Record:
    """What is remembered of one org unit in one period.

    ``full``: when all values of a metric were last sent. ``invalid_until``: up to when something may have arrived of which
    nothing was noted; 0 where nothing ever did. Both in epoch seconds. ``version`` counts the writes; ``None``: it is not in
    the table yet. ``is_reset``: what was remembered before is lost, and with it what is on its way; until that has arrived,
    which ``invalid_until`` says, nothing is confirmed.
    """

    period: str
    org_unit: str
    entries: dict[Identifier, Entry] = field(default_factory=dict)
    full: dict[Metric, int] = field(default_factory=dict)
    invalid_until: float = 0.0
    version: int | None = None
    is_reset: bool = False

    def attempts(self) -> Iterator[tuple[str, str]]:
        """Yield the batches whose receipts tell what became of the values."""
        for entry in self.entries.values():
            for attempt in entry.attempts:
                yield attempt.batch_id, attempt.attempt_id

    def settle(self, receipts: Receipts, now: float) -> bool:
        """Forget what cannot matter any more; tell whether anything was forgotten."""
        settled = [entry.settle(receipts, now, self.invalid_until) for entry in self.entries.values()]
        empty = [identifier for identifier, entry in self.entries.items() if entry.is_empty]
        for identifier in empty:
            del self.entries[identifier]
        return any(settled) or bool(empty)

    def is_known(self, value: DataValue, receipts: Receipts, now: float) -> bool:
        """Return whether DHIS2 holds a value for certain, as one of this metric, and nothing else is on its way."""
        entry = self.entries.get(value.identifier)
        return (
            entry is not None
            # Sent once more where a row of the settings was corrected: else it would vanish with the other metric.
            and entry.metric is value.metric
            and entry.holds(receipts, now, self.invalid_until) == {value.value}
        )

    def note(self, value: DataValue, attempt: Attempt) -> None:
        """Remember that a value is put on the queue."""
        entry = Entry(
            value.metric, value.column.option_combo_scheme, value.store, value.item, kind=value.origin.kind
        )
        if (before := self.entries.get(value.identifier)) is not None:
            entry.confirmed, entry.acknowledged = before.confirmed, before.acknowledged
            entry.attempts = before.attempts
        entry.attempts.append(attempt)
        self.entries[value.identifier] = entry

    def as_value(self, identifier: Identifier, entry: Entry) -> DataValue:
        """Return an entry as the value that DHIS2 acknowledged last; there is one."""
        column = Column(identifier, self.period, entry.scheme, entry.metric, entry.item)
        return DataValue(column, Origin(self.org_unit, entry.store, entry.kind), str(entry.acknowledged))

    def encoded(self) -> bytes:
        """Return the record's content, compactly: by columns, where what comes again and again stands side by side."""
        rows, attempts = [], []
        for identifier, of in self.entries.items():
            held = of.confirmed, of.acknowledged, len(of.attempts)
            rows.append(_Row(*identifier, of.metric, of.scheme, of.store, of.item, of.kind, *held))
            attempts += [(a.batch_id, a.attempt_id, a.until, a.index, a.value) for a in of.attempts]
        content = _Content(_FORMAT, self.invalid_until, self.full, rows, attempts)
        return zlib.compress(reader_of(_Content).dump_json(content), 6)

    def read(self, content: bytes) -> None:
        """Take over a record's content; a ValueError where it is damaged, or of another format.

        Nothing of it is confirmed where ``invalid_until``, the table's, is later than its own.
        """
        try:
            held = reader_of(_Content).validate_json(zlib.decompress(content))
        except (zlib.error, TypeError) as error:
            raise ValueError(str(error)) from error
        is_doubtful = self.invalid_until > held.invalid_until
        attempts = iter(held.attempts)
        self.full = held.full
        for row in held.rows:
            confirmed = NoValue.UNKNOWN if is_doubtful else row.confirmed
            sent = [Attempt(*attempt) for attempt in islice(attempts, row.attempts)]
            entry = Entry(
                row.metric, row.scheme, row.store, row.item, confirmed, row.acknowledged, sent, row.kind
            )
            self.entries[row.data_element, row.category, row.attribute] = entry


class _Row(NamedTuple):
    """A value as it is written: its identifier, its entry, and how many of the attempts are its own."""

    data_element: str
    category: str | None
    attribute: str | None
    metric: Metric
    scheme: Scheme
    store: str
    item: str
    kind: Kind
    confirmed: Held
    acknowledged: str | None
    attempts: int


def _transposed(rows: Iterable[Iterable[object]]) -> list[tuple[object, ...]]:
    return list(zip(*rows, strict=True))


_BY_COLUMNS = BeforeValidator(_transposed), PlainSerializer(_transposed)


@dataclass(frozen=True, slots=True)
class _Content:
    """All that is written of a record."""

    version: Literal[2]
    invalid_until: float
    full: dict[Metric, int]
    rows: Annotated[list[_Row], *_BY_COLUMNS]
    attempts: Annotated[list[tuple[str, str, int, int, str | None]], *_BY_COLUMNS]
