"""The stock ledger of a group of pairs, read backwards from the stock lines as they are now.

Backwards, because in real databases the movements do not add up to the stock on hand, and the stock lines
are right.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import chain, groupby
from operator import attrgetter

from msupply_dhis2.metrics.warning import StockWarning
from msupply_dhis2.stock import Movement, MovementKind, PairHistory

_instant_of = attrgetter("instant")
_NOTHING_MOVED = dict.fromkeys(MovementKind, 0)


class Ledger:
    """The stock of some pairs together, and what moved it.

    Attributes
    ----------
    stock_now
        In millionths of a unit, as are all quantities here.
    movements
        Latest first, from the reader's floor on.
    first_in
        The first movement in of more than 0 units, ``None`` where there never was one.
    """

    def __init__(self, pairs: Sequence[PairHistory]) -> None:
        self.stock_now = sum(line.units for pair in pairs for line in pair.stock_lines)
        self.movements = pairs[0].movements if len(pairs) == 1 else _merge(pairs)
        self._units_before_floor = sum(pair.units_before_floor for pair in pairs)
        self.first_in = min((pair.first_in for pair in pairs if pair.first_in is not None), default=None)

    def stock_at(self, instant: datetime) -> int:
        """Return the stock just before what moved at an instant."""
        stock = self.stock_now
        for movement in self.movements:
            if movement.instant < instant:
                break
            stock -= movement.units
        return stock

    def moved(self, start: datetime, end: datetime) -> dict[MovementKind, int]:
        """Return the signed sums of what moved in ``[start, end)``, by kind."""
        sums = _NOTHING_MOVED.copy()
        for instant, kind, units, _ in self.movements:
            if instant < start:
                break
            if instant < end:
                sums[kind] += units
        return sums

    def days_out_of_stock(self, midnights: Sequence[datetime], period_end: datetime) -> int | None:
        """Count the whole days without any stock at all.

        A day counts where stock is at most 0 from the midnight that begins it to the midnight that ends it,
        after every instant of movement between, so neither the day on which it runs out nor the day on
        which it comes back. Days before the first stocking do not count.

        Parameters
        ----------
        midnights
            The bounds of the whole days, earliest first: ``n`` days have ``n + 1``.
        period_end
            What was first stocked from here on was not yet stocked.

        Returns
        -------
        int or None
            ``None`` where there is no whole day, or no first stocking before the period's end.
        """
        last = len(midnights) - 1
        if last < 1:
            return None
        first = self._first_day_that_counts(midnights, period_end)
        if first is None:
            return None
        days = 0
        # Going backwards: the day at which the run without stock ends (itself not out of stock), while in one.
        run_end = last if self.stock_at(midnights[last]) <= 0 else None
        for instant, before, after in self._changes():
            if instant >= midnights[last]:
                continue
            if instant < midnights[0]:
                break
            if (before > 0) is (after > 0):
                continue
            day = bisect_right(midnights, instant) - 1
            if run_end is None:
                run_end = day
            else:
                days += max(0, run_end - max(day + 1, first))
                run_end = None
        if run_end is not None:
            days += max(0, run_end - first)
        return days

    def _first_day_that_counts(self, midnights: Sequence[datetime], period_end: datetime) -> int | None:
        if self.first_in is not None and self.first_in < midnights[0]:
            return 0
        if self._stock_before_first_movement() > 0:
            return 0
        if self.first_in is None or self.first_in >= period_end:
            return None
        return bisect_right(midnights, self.first_in) - 1

    def _stock_before_first_movement(self) -> int:
        return self.stock_now - sum(movement.units for movement in self.movements) - self._units_before_floor

    def _changes(self) -> Iterator[tuple[datetime, int, int]]:
        """Yield each instant of movement with the stock before and after it, latest first."""
        after = self.stock_now
        for instant, movements in groupby(self.movements, key=_instant_of):
            before = after - sum(movement.units for movement in movements)
            yield instant, before, after
            after = before


def issued(moved: Mapping[MovementKind, int]) -> int:
    """Return what was issued, net: the mirror row of a cancelled prescription takes it back."""
    return -(moved[MovementKind.OUTBOUND_SHIPMENT] + moved[MovementKind.PRESCRIPTION])


def stock_by_expiry_date(
    pairs: Sequence[PairHistory], instant: datetime, warnings: Counter[StockWarning]
) -> dict[date | None, int]:
    """Return the stock at an instant by the expiry date of its stock lines.

    Each line is run back with the movements of its own pair that name it. Those that name none, or one that
    is no longer there, change no line; they are added to the warnings.
    """
    units: defaultdict[date | None, int] = defaultdict(int)
    for pair in pairs:
        for line in pair.stock_lines:
            units[line.expiry_date] += line.units
        expiry_dates = {line.id: line.expiry_date for line in pair.stock_lines}
        for movement in pair.movements:
            if movement.instant < instant:
                break
            if movement.stock_line_id is None:
                warnings[StockWarning.MOVEMENT_WITHOUT_STOCK_LINE] += 1
            elif movement.stock_line_id not in expiry_dates:
                warnings[StockWarning.MOVEMENT_OF_MISSING_STOCK_LINE] += 1
            else:
                units[expiry_dates[movement.stock_line_id]] -= movement.units
    return units


def _merge(pairs: Sequence[PairHistory]) -> list[Movement]:
    # Each is in order already, so this sort only merges them.
    return sorted(chain.from_iterable(pair.movements for pair in pairs), key=_instant_of, reverse=True)
