"""The stock ledger of a group of pairs, read backwards from the stock lines as they are now.

Backwards, because in real databases the movements do not add up to the stock on hand, and the stock lines
are right.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import chain
from operator import itemgetter

from msupply_dhis2.domain.stock import MovementKind, PairHistory, StockLine

type Span = tuple[int, int]
"""Days on end, by the midnights that begin and end them, as places in a sequence of midnights."""


class StockWarning(StrEnum):
    """What makes a value doubtful, though it is sent as it is, in words that its number follows."""

    NEGATIVE_STOCK = "Stock values below zero, sent as they are"
    MOVEMENT_WITHOUT_STOCK_LINE = (
        "Movements after the snapshot that name no stock line, so expiring and expired stock is an estimate"
    )
    MOVEMENT_OF_MISSING_STOCK_LINE = (
        "Movements after the snapshot that name a stock line which the store no longer has, so expiring and expired stock is "
        "an estimate"
    )


class Ledger:
    """The stock of some pairs together, in millionths of a unit, and what moved it, latest first."""

    __slots__ = ("_pairs", "first_in", "movements", "stock_now")

    def __init__(self, pairs: Sequence[PairHistory]) -> None:
        self._pairs = pairs
        self.stock_now = sum([line[1] for pair in pairs for line in pair.stock_lines])
        self.movements, self.first_in = pairs[0].movements, pairs[0].first_in
        if len(pairs) > 1:
            # Each is in order already, so this sort only merges them.
            movements = chain.from_iterable(pair.movements for pair in pairs)
            self.movements = sorted(movements, key=itemgetter(0), reverse=True)
            self.first_in = min([pair.first_in for pair in pairs if pair.first_in is not None], default=None)

    def stock_at(self, instant: datetime) -> int:
        """Return the stock just before what moved at an instant."""
        stock = self.stock_now
        for movement in self.movements:
            if movement[0] < instant:
                break
            stock -= movement[2]
        return stock

    def moved(self, start: datetime, end: datetime) -> Mapping[MovementKind, int]:
        """Return the signed sums of what moved in ``[start, end)``, by kind; 0 of every other."""
        sums: defaultdict[MovementKind, int] = defaultdict(int)
        for instant, kind, units, _ in self.movements:
            if instant < start:
                break
            if instant < end:
                sums[kind] += units
        return sums

    def spans_without_stock(self, midnights: Sequence[datetime], period_end: datetime) -> list[Span] | None:
        """Return the spans of whole days without any stock at all, between these midnights (earliest first).

        A day counts where stock is at most 0 from the midnight that begins it to the midnight that ends it,
        after every instant of movement between, so neither the day on which it runs out nor the day on
        which it comes back. Days before the first stocking do not count: ``None`` where there is none before the
        period's end, or no whole day. The latest span comes first.
        """
        first = self._first_day_that_counts(midnights, period_end) if len(midnights) > 1 else None
        if first is None:
            return None
        return [
            (max(begin, first), end) for begin, end in self._spans_without_stock(midnights) if end > first
        ]

    def days_out_of_stock(self, midnights: Sequence[datetime], period_end: datetime) -> int | None:
        """Count the days of ``spans_without_stock``."""
        spans = self.spans_without_stock(midnights, period_end)
        return None if spans is None else _days_of(spans)

    def is_in_stock(self, midnights: Sequence[datetime]) -> bool:
        """Return whether there is any stock on any of some whole days, those before the first stocking included."""
        return _days_of(self._spans_without_stock(midnights)) < len(midnights) - 1

    def _spans_without_stock(self, midnights: Sequence[datetime]) -> list[Span]:
        last = len(midnights) - 1
        begin, end = midnights[0], midnights[last]
        spans: list[Span] = []
        after = self.stock_at(end)
        # Going backwards: the day at which the run without stock ends (itself not out of stock), while in one.
        run_end = last if after <= 0 else None
        movements = self.movements
        place, count = 0, len(movements)
        while place < count and movements[place][0] >= end:
            place += 1
        while place < count and (instant := movements[place][0]) >= begin:
            # All that moved at one instant counts together.
            before = after
            while place < count and movements[place][0] == instant:
                before -= movements[place][2]
                place += 1
            if (before > 0) is not (after > 0):
                day = bisect_right(midnights, instant) - 1
                if run_end is None:
                    run_end = day
                else:
                    spans.append((day + 1, run_end))
                    run_end = None
            after = before
        if run_end is not None:
            spans.append((0, run_end))
        return [span for span in spans if span[0] < span[1]]

    def _first_day_that_counts(self, midnights: Sequence[datetime], period_end: datetime) -> int | None:
        if self.first_in is not None and self.first_in < midnights[0]:
            return 0
        moved = sum(movement.units for movement in self.movements)
        if self.stock_now - moved - sum(pair.units_before_floor for pair in self._pairs) > 0:
            # There was stock before the first movement.
            return 0
        if self.first_in is None or self.first_in >= period_end:
            return None
        return bisect_right(midnights, self.first_in) - 1


def _days_of(spans: Iterable[Span]) -> int:
    return sum([after - first for first, after in spans])


def stock_of_lines(
    pairs: Sequence[PairHistory], instant: datetime, warnings: Counter[StockWarning]
) -> Iterator[tuple[PairHistory, StockLine, int]]:
    """Yield each stock line with its units just before what moved at an instant.

    Each line is run back with the movements of its own pair that name it. Those that name none, or one that
    is no longer there, change no line; they are added to the warnings.
    """
    for pair in pairs:
        since: Mapping[str, int] = {}
        if pair.movements and pair.movements[0][0] >= instant:
            since = _moved_since(pair, instant, warnings)
        for line in pair.stock_lines:
            yield pair, line, line[1] - since.get(line[0], 0)


def _moved_since(pair: PairHistory, instant: datetime, warnings: Counter[StockWarning]) -> Mapping[str, int]:
    moved = {line.id: 0 for line in pair.stock_lines}
    for movement in pair.movements:
        if movement.instant < instant:
            break
        if movement.stock_line_id is None:
            warnings[StockWarning.MOVEMENT_WITHOUT_STOCK_LINE] += 1
        elif movement.stock_line_id not in moved:
            warnings[StockWarning.MOVEMENT_OF_MISSING_STOCK_LINE] += 1
        else:
            moved[movement.stock_line_id] += movement.units
    return moved
