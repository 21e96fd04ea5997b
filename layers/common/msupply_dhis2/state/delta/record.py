"""What is remembered of one org unit in one period: what DHIS2 may hold for each value.

A value is on its way from when it is put on the queue until push notes its receipt. Until then it may still arrive,
at any time, also after newer ones (a redriven dead letter does). So each value is remembered as the last one that is
certain, and the *sendings* since. Only where all that follows from them is one and the same value is it known what
DHIS2 holds.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple

from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Scheme

OVERLAP_SECONDS = 900.0
"""What was applied less than this before something else began may have come after it: clocks differ a little, and a slow
DHIS2 goes on with a call that nobody waits for any more."""

SETTLED_SECONDS = 3600.0
"""So long after it was applied no second delivery of the same message, begun before, can still be at work."""

TRACKED_FOR = timedelta(days=30)
"""How long a batch may take to arrive: 12 days on the queue, 14 as a dead letter, and some to mend what kept it."""

_FORMAT = 1


class Fate(Enum):
    """What stands in DHIS2 where it is not a value that we sent."""

    GONE = "gone"
    UNKNOWN = "unknown"


type Held = str | Fate
"""What DHIS2 may hold for a key: a value, nothing, or something that is not known."""


class Sending(NamedTuple):
    """One time that a value was put on the queue.

    ``value`` is ``None`` for a deletion; ``place`` is that of the value in its batch; after ``until`` (epoch seconds)
    push no longer takes the message for ours, so that nothing of it can arrive unnoticed.
    """

    batch_id: str
    attempt_id: str
    until: int
    place: int
    value: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What push noted of a batch: places with a fate, those that were applied, and from when to when it was at it."""

    settled: frozenset[int]
    applied: frozenset[int]
    began: float
    ended: float


type Receipts = Mapping[tuple[str, str], Receipt]
"""By batch id and sending."""


class _Landing(NamedTuple):
    """What arrived at DHIS2, and when: not before ``began``, not after ``ended``."""

    began: float
    ended: float
    held: Held


@dataclass(slots=True)
class Entry:
    """What is remembered of one value.

    Attributes
    ----------
    certain
        What DHIS2 held for certain before the sendings.
    acknowledged
        The value that DHIS2 acknowledged last; ``None`` where there is none, or it was deleted.
    """

    metric: Metric
    scheme: Scheme
    store: str
    item: str
    certain: Held = Fate.UNKNOWN
    acknowledged: str | None = None
    attempt_ids: list[Sending] = field(default_factory=list)

    def holds(self, receipts: Receipts, now: float, invalid_until: float) -> frozenset[Held]:
        """Return all that DHIS2 may hold, now or once what is on its way has arrived."""
        if not self.attempt_ids:
            return frozenset({self.certain})
        landings = [_landing(attempt_id, receipts, now) for attempt_id in self.attempt_ids]
        still_open = {
            _held(attempt_id)
            for attempt_id, landing in zip(self.attempt_ids, landings, strict=True)
            if landing is None
        }
        return self._last([landing for landing in landings if landing], invalid_until) | still_open

    def _last(self, landings: list[_Landing], invalid_until: float) -> frozenset[Held]:
        """Return what may have arrived last."""
        if not landings:
            return frozenset({self.certain})
        # Of a disturbance nothing is known but that it was over then.
        all_landings = [*landings, _Landing(0.0, invalid_until, Fate.UNKNOWN)] if invalid_until else landings
        latest = max(landing.began for landing in all_landings)
        return frozenset(
            landing.held for landing in all_landings if landing.ended + OVERLAP_SECONDS >= latest
        )

    def settle(self, receipts: Receipts, now: float, invalid_until: float) -> bool:
        """Forget the sendings of which nothing can come any more, and keep what they came to.

        Returns
        -------
        bool
            Whether anything was forgotten.
        """
        if not self.attempt_ids:
            return False
        self._acknowledge(receipts)
        alive: list[Sending] = []
        over: list[tuple[Sending, _Landing]] = []
        latest = 0.0
        for attempt_id in self.attempt_ids:
            landing = _landing(attempt_id, receipts, now)
            if landing is None or now <= landing.ended + SETTLED_SECONDS:
                alive.append(attempt_id)
                latest = max(latest, landing.began if landing else 0.0)
            else:
                over.append((attempt_id, landing))
        if not over:
            return False
        if latest:
            # Of those that are over only the ones matter that may have come after one that is not.
            over = [
                (attempt_id, landing)
                for attempt_id, landing in over
                if landing.ended + OVERLAP_SECONDS >= latest
            ]
            kept = [*(attempt_id for attempt_id, _ in over), *alive]
        else:
            last = self._last([landing for _, landing in over], invalid_until)
            self.certain = next(iter(last)) if len(last) == 1 else Fate.UNKNOWN
            kept = alive
        is_less = len(kept) < len(self.attempt_ids)
        self.attempt_ids = kept
        return is_less

    def _acknowledge(self, receipts: Receipts) -> None:
        """Keep what was applied last; what DHIS2 refused, a value or a deletion, changes nothing about that."""
        applied = [
            (receipt.ended, place)
            for place, attempt_id in enumerate(self.attempt_ids)
            if (receipt := _receipt_of(attempt_id, receipts)) is not None
            and attempt_id.place in receipt.applied
        ]
        if applied:
            self.acknowledged = self.attempt_ids[max(applied)[1]].value

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.attempt_ids and self.acknowledged is None and isinstance(self.certain, Fate)


def _receipt_of(attempt_id: Sending, receipts: Receipts) -> Receipt | None:
    """Return the receipt that tells of an attempt, once its value has a fate."""
    receipt = receipts.get((attempt_id.batch_id, attempt_id.attempt_id))
    return receipt if receipt is not None and attempt_id.place in receipt.settled else None


def _held(attempt_id: Sending) -> Held:
    return Fate.GONE if attempt_id.value is None else attempt_id.value


def _landing(attempt_id: Sending, receipts: Receipts, now: float) -> _Landing | None:
    """Return when and with what an attempt arrived; ``None`` while it may still."""
    receipt = _receipt_of(attempt_id, receipts)
    if receipt is not None:
        # What was refused may yet have changed something: a zero that is not kept removes what stood there.
        held = _held(attempt_id) if attempt_id.place in receipt.applied else Fate.UNKNOWN
        return _Landing(receipt.began, receipt.ended, held)
    if now <= attempt_id.until:
        return None
    # It never arrived, or its receipt has expired.
    return _Landing(0.0, float(attempt_id.until), Fate.UNKNOWN)


@dataclass(slots=True)
class Record:
    """What is remembered of one org unit in one period.

    Attributes
    ----------
    entries
        By what each value is known by within its org unit and period.
    full
        When all values of a metric were last sent, in epoch seconds.
    invalid_until
        Up to when something may have arrived of which nothing was noted; 0 where nothing ever did.
    version
        Counts the writes; ``None`` for a record that is not in the table yet.
    is_reset
        What was remembered before is lost, and with it what is on its way: until that has arrived, which
        ``invalid_until`` says, nothing is certain.
    """

    period: str
    org_unit: str
    entries: dict[Identifier, Entry] = field(default_factory=dict)
    full: dict[Metric, int] = field(default_factory=dict)
    invalid_until: float = 0.0
    version: int | None = None
    is_reset: bool = False

    def attempt_ids(self) -> Iterator[tuple[str, str]]:
        """Yield the batches whose receipts tell what became of the values."""
        for entry in self.entries.values():
            for attempt_id in entry.attempt_ids:
                yield attempt_id.batch_id, attempt_id.attempt_id

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

    def note(self, value: DataValue, attempt_id: Sending) -> None:
        """Remember that a value is put on the queue."""
        entry = self.entries.get(value.identifier)
        if entry is None:
            entry = Entry(value.metric, value.option_combo_scheme, value.store, value.item)
            self.entries[value.identifier] = entry
        else:
            entry.metric, entry.scheme = value.metric, value.option_combo_scheme
            entry.store, entry.item = value.store, value.item
        entry.attempt_ids.append(attempt_id)

    def as_value(self, identifier: Identifier, entry: Entry) -> DataValue:
        """Return an entry as the value that DHIS2 acknowledged last; there is one."""
        data_element, category, attribute = identifier
        return DataValue(
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
        )

    def encoded(self) -> bytes:
        """Return the record's content, compactly."""
        names, batches = _Places(), _Places()
        # What comes again and again stands once. A combo is an option combo with its metric.
        combos = _Places()
        rows: list[list[Any]] = []
        for (data_element, category, attribute), entry in self.entries.items():
            row: list[Any] = [
                names.of(data_element),
                combos.of((category, attribute, entry.scheme.value, entry.metric.value)),
                names.of(entry.store),
                names.of(entry.item),
                _written(entry.certain),
                # Nearly always the same as what is certain.
                0 if entry.acknowledged == entry.certain else entry.acknowledged,
            ]
            for attempt_id in entry.attempt_ids:
                batch = batches.of((attempt_id.batch_id, attempt_id.attempt_id, attempt_id.until))
                row += [batch, attempt_id.place, attempt_id.value]
            rows.append(row)
        content = [
            _FORMAT,
            self.invalid_until,
            {metric.value: when for metric, when in self.full.items()},
            list(names.places),
            list(combos.places),
            list(batches.places),
            rows,
        ]
        return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 6)

    def read(self, content: bytes) -> None:
        """Take over a record's content, and what the disturbances since mean for it.

        ``invalid_until`` is the table's, which push may have set after the content was written.

        Raises
        ------
        ValueError
            It is damaged, or of another format.
        """
        try:
            form, disturbed, full, names, combos, batches, rows = json.loads(zlib.decompress(content))
            if form != _FORMAT:
                raise ValueError("another format")  # noqa: TRY301 - told like all that cannot be read
            is_doubtful = self.invalid_until > disturbed
            read_combos = [
                (category, attribute, Scheme(scheme), Metric(metric))
                for category, attribute, scheme, metric in combos
            ]
            self.full = {Metric(metric): int(when) for metric, when in full.items()}
            for data_element, combo, store, item, certain, acknowledged, *sent in rows:
                category, attribute, scheme, metric = read_combos[combo]
                held = _read(certain)
                self.entries[names[data_element], category, attribute] = Entry(
                    metric=metric,
                    scheme=scheme,
                    store=str(names[store]),
                    item=str(names[item]),
                    certain=Fate.UNKNOWN if is_doubtful else held,
                    acknowledged=(held if isinstance(held, str) else None)
                    if acknowledged == 0
                    else acknowledged,
                    attempt_ids=[
                        _attempt_id(batches[batch], place, value)
                        for batch, place, value in zip(sent[::3], sent[1::3], sent[2::3], strict=True)
                    ],
                )
        except (
            zlib.error,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _attempt_id(batch: Any, place: Any, value: object) -> Sending:  # noqa: ANN401 - as read
    if value is not None and not isinstance(value, str):
        raise ValueError("a value is no text")
    batch_id, attempt_id, until = batch
    return Sending(str(batch_id), str(attempt_id), int(until), int(place), value)


class _Places:
    """Gives each thing its place in a list, in which it stands once."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def of(self, thing: object) -> int:
        return self.places.setdefault(thing, len(self.places))


def _written(held: Held) -> str | int:
    """Write what is held: values are text, so that numbers are free for the rest."""
    match held:
        case Fate.GONE:
            return 0
        case Fate.UNKNOWN:
            return 1
        case value:
            return value


def _read(written: object) -> Held:
    match written:
        case str(value):
            return value
        case 0:
            return Fate.GONE
        case _:
            return Fate.UNKNOWN
