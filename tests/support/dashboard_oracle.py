"""What DHIS2's dashboard must show, worked out from mSupply by hand: slowly, and by what each number means.

It shares nothing with the command that makes the dashboard, and nothing with the stand-in that adds up. The metrics of a
facility and a month are those of the slow reference, from stock lines and ledger as they are read plainly.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.periods import Basis
from msupply_dhis2.source.base import Catalogue
from tests.support.plain_reading import Plain, read_plainly
from tests.support.slow_reference import MILLION, Entry, Line, Question, reference_values

LITTLE, MUCH = 3, 6
"""Months of stock between which a facility is stocked according to plan, where mSupply says nothing else."""


@dataclass(frozen=True)
class Asked:
    """What is asked for: the org units of the facilities of a place, and the months of a period, by their labels."""

    facilities: Sequence[str]
    months: Sequence[str]


class Oracle:
    """Answers what a dashboard must show of one item, by its universal code, or of all."""

    def __init__(self, file: Path, catalogue: Catalogue, months: Sequence[str], zone: ZoneInfo) -> None:
        self._catalogue = catalogue
        plain = read_plainly(file, zone)
        codes = Counter(item.fields["universal_code"] for item in catalogue.items)
        self.items = sorted(code for code, number in codes.items() if number == 1)
        """The universal codes that one item has; where two share one, nothing is sent."""
        self.facilities = sorted({store.org_unit for store in catalogue.stores})
        self._values = {
            (facility, item, month): self._of(plain, facility, item, month, zone)
            for facility in self.facilities
            for item in self.items
            for month in months
        }

    def _of(
        self, plain: Plain, facility: str, code: str, month: str, zone: ZoneInfo
    ) -> dict[Metric, Fraction]:
        """Return the metrics of a month, rounded to the six decimals that are sent; none of what was never there."""
        stores = [store for store in self._catalogue.stores if store.org_unit == facility]
        (item,) = (item for item in self._catalogue.items if item.fields["universal_code"] == code)
        lines = [
            Line(store, item, *line) for store in stores for line in plain.lines.get((store.id, item.id), ())
        ]
        entries = [
            Entry(store, item, *entry)
            for store in stores
            for entry in plain.ledger.get((store.id, item.id), ())
        ]
        year, number = int(month[:4]), int(month[4:])
        after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
        question = Question(
            basis=Basis.PREVIOUS_MONTH,
            as_of=after.astimezone(UTC).replace(tzinfo=None),
            zone=zone,
            period_format="YYYYMM",
            expiring_within_days=90,
            include_returns=True,
            days_in_month=self._catalogue.preferences.days_in_month,
            adjust=self._catalogue.preferences.adjust_for_days_out_of_stock,
        )
        values = reference_values(question, lines, entries, stores)
        return {metric: Fraction(_rounded(Fraction(value, MILLION), 6)) for metric, value in values.items()}

    def known(self, sent: set[tuple[str, str, str]]) -> None:
        """Forget what is not sent: pairs of store and item that never met."""
        for key in self._values.keys() - sent:
            del self._values[key]

    def _value(self, facility: str, item: str, month: str, metric: Metric) -> Fraction | None:
        return self._values.get((facility, item, month), {}).get(metric)

    # What a place has of an item

    def _last(self, asked: Asked, item: str, metric: Metric) -> Fraction | None:
        """Add up, over the facilities, what each had in the last month of the period for which it has anything."""
        found = []
        for facility in asked.facilities:
            for month in sorted(asked.months, reverse=True):
                value = self._value(facility, item, month, metric)
                if value is not None:
                    found.append(value)
                    break
        return sum(found, Fraction(0)) if found else None

    def _out(self, asked: Asked, item: str) -> Fraction | None:
        """Return the share of facilities and months at whose end there was nothing."""
        ends = [
            self._value(facility, item, month, Metric.STOCK_ON_HAND)
            for facility in asked.facilities
            for month in asked.months
        ]
        empty = [end <= 0 for end in ends if end is not None]
        return Fraction(sum(empty), len(empty)) if empty else None

    def _to_plan(self, asked: Asked, item: str) -> bool | None:
        stock = self._last(asked, item, Metric.STOCK_ON_HAND)
        monthly = self._last(asked, item, Metric.AVERAGE_MONTHLY_CONSUMPTION)
        if stock is None or monthly is None:
            return None
        return monthly > 0 and LITTLE * monthly <= stock <= MUCH * monthly

    # What the dashboard says of it

    def months_of_stock(self, asked: Asked, item: str) -> Decimal | None:
        stock = self._last(asked, item, Metric.STOCK_ON_HAND)
        monthly = self._last(asked, item, Metric.AVERAGE_MONTHLY_CONSUMPTION)
        return None if stock is None or not monthly else _rounded(stock / monthly, 1)

    def availability(self, asked: Asked, item: str) -> Decimal | None:
        out = self._out(asked, item)
        return None if out is None else _rounded(100 * (1 - out), 2)

    def stock_out_rate(self, asked: Asked, item: str) -> Decimal | None:
        out = self._out(asked, item)
        return None if out is None else _rounded(100 * out, 2)

    def stocked_to_plan(self, asked: Asked, item: str) -> Decimal | None:
        is_to_plan = self._to_plan(asked, item)
        return None if is_to_plan is None else Decimal(100 * is_to_plan)

    def opening(self, asked: Asked, item: str) -> Decimal | None:
        """Add up what each facility had at the midnight that begins the period."""
        first = min(asked.months)
        found = [
            value
            for facility in asked.facilities
            if (value := self._value(facility, item, first, Metric.OPENING_STOCK)) is not None
        ]
        return _rounded(sum(found, Fraction(0)), 2) if found else None

    def availability_of_all(self, asked: Asked) -> Decimal | None:
        outs = [out for item in self.items if (out := self._out(asked, item)) is not None]
        return _rounded(100 * (1 - sum(outs) / Fraction(len(outs))), 2) if outs else None

    def stock_out_rate_of_all(self, asked: Asked) -> Decimal | None:
        outs = [out for item in self.items if (out := self._out(asked, item)) is not None]
        return _rounded(100 * sum(outs) / Fraction(len(outs)), 2) if outs else None

    def stocked_to_plan_of_all(self, asked: Asked) -> Decimal | None:
        known = [each for item in self.items if (each := self._to_plan(asked, item)) is not None]
        return _rounded(Fraction(100 * sum(known), len(known)), 2) if known else None


def _rounded(value: Fraction, places: int) -> Decimal:
    """Round halves away from zero."""
    doubled = abs(value) * 10**places * 2
    whole = (doubled.numerator + doubled.denominator) // (2 * doubled.denominator)
    return Decimal(whole if value >= 0 else -whole).scaleb(-places)
