"""What is remembered of one org unit in one period: what DHIS2 may hold for each value.

A value is on its way from when it is put on the queue until push has noted its outcome. Until then it may still arrive,
at any time, also after newer ones (a redriven dead letter does). So each value is remembered as the last one that is
confirmed, and the *attempts* since. Only where all that follows from them is one and the same value is it known what
DHIS2 holds.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, NamedTuple

from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.message import DeliveryState

OVERLAP_SECONDS = 900.0
"""What was applied less than this before something else began may have come after it: clocks differ a little, and a slow
DHIS2 goes on with a call that nobody waits for any more."""

SETTLED_SECONDS = 3600.0
"""So long after it was applied no second delivery of the same message, begun before, can still be at work."""

TRACKED_FOR = timedelta(days=30)
"""How long a batch may take to arrive: 12 days on the queue, 14 as a dead letter, and some to fix what kept it."""

_FORMAT = 1


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
        entry = Entry(value.metric, value.option_combo_scheme, value.store, value.item, kind=value.kind)
        if (before := self.entries.get(value.identifier)) is not None:
            entry.confirmed, entry.acknowledged = before.confirmed, before.acknowledged
            entry.attempts = before.attempts
        entry.attempts.append(attempt)
        self.entries[value.identifier] = entry

    def as_value(self, identifier: Identifier, entry: Entry) -> DataValue:
        """Return an entry as the value that DHIS2 acknowledged last; there is one."""
        data_element, category, attribute = identifier
        return DataValue.of(
            data_element=data_element,
            period=self.period,
            org_unit=self.org_unit,
            category_option_combo=category,
            attribute_option_combo=attribute,
            option_combo_scheme=entry.scheme,
            value=str(entry.acknowledged),
            store=entry.store,
            item=entry.item,
            metric=entry.metric,
            kind=entry.kind,
        )

    def encoded(self) -> bytes:
        """Return the record's content, compactly: what comes again and again stands once, in a list of its kind."""
        # By what each is, its index in the list. A combo is an option combo with its metric and kind.
        names, combos, batches = dict[str, int](), dict[Any, int](), dict[Any, int]()

        def index[Kind](indexes: dict[Kind, int], of: Kind) -> int:
            return indexes.setdefault(of, len(indexes))

        rows: list[list[Any]] = []
        for (data_element, category, attribute), entry in self.entries.items():
            row: list[Any] = [
                index(names, data_element),
                index(
                    combos, (category, attribute, entry.scheme.value, entry.metric.value, entry.kind.value)
                ),
                index(names, entry.store),
                index(names, entry.item),
                entry.confirmed,
                # Nearly always the same as what is confirmed.
                0 if entry.acknowledged == entry.confirmed else entry.acknowledged,
            ]
            for attempt in entry.attempts:
                batch = attempt.batch_id, attempt.attempt_id, attempt.until
                row += [index(batches, batch), attempt.index, attempt.value]
            rows.append(row)
        full = {metric.value: when for metric, when in self.full.items()}
        content = [_FORMAT, self.invalid_until, full, list(names), list(combos), list(batches), rows]
        return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 6)

    def read(self, content: bytes) -> None:
        """Take over a record's content; a ValueError where it is damaged, or of another format.

        Nothing of it is confirmed where ``invalid_until``, the table's, is later than its own.
        """
        try:
            form, invalid_until, full, names, combos, batches, rows = json.loads(zlib.decompress(content))
            if form != _FORMAT:
                raise ValueError("another format")
            is_doubtful = self.invalid_until > invalid_until
            self.full = {Metric(metric): int(when) for metric, when in full.items()}
            for data_element, combo, store, item, confirmed, acknowledged, *sent in rows:
                category, attribute, scheme, metric, kind = combos[combo]
                held = confirmed if isinstance(confirmed, str) else NoValue(confirmed)
                if acknowledged == 0:
                    acknowledged = None if isinstance(held, NoValue) else held  # noqa: PLW2901 - as it was
                self.entries[names[data_element], category, attribute] = Entry(
                    metric=Metric(metric),
                    scheme=Scheme(scheme),
                    store=str(names[store]),
                    item=str(names[item]),
                    kind=Kind(kind),
                    confirmed=NoValue.UNKNOWN if is_doubtful else held,
                    acknowledged=_text(acknowledged),
                    attempts=[
                        _attempt(batches[batch], index, value)
                        for batch, index, value in zip(sent[::3], sent[1::3], sent[2::3], strict=True)
                    ],
                )
        except (
            *(zlib.error, ValueError, TypeError, LookupError),
            *(AttributeError, ArithmeticError, RecursionError),
        ) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _attempt(batch: Any, index: Any, value: object) -> Attempt:  # noqa: ANN401 - as read
    batch_id, attempt_id, until = batch
    return Attempt(str(batch_id), str(attempt_id), int(until), int(index), _text(value))


def _text(read: object) -> str | None:
    if read is not None and not isinstance(read, str):
        raise ValueError("a value is no text")
    return read
