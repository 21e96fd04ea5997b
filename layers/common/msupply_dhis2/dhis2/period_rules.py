"""Which periods a data set and its org units are open for."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from msupply_dhis2.dhis2.metadata import MetadataCache
from msupply_dhis2.dhis2.models import InputPeriod, OrgUnit
from msupply_dhis2.domain.outcome import Reason
from msupply_dhis2.periods import Period, PeriodFormat, add_days, find_period

_A_DAY = timedelta(days=1)
_SOON = timedelta(minutes=5)
_MOST_FUTURE_PERIODS = 2000

_UNSURE_TYPE = "SixMonthlyNov"
_UNSURE_LABEL = "BiW27"
"""Periods that DHIS2 counts differently from one release, or from one question, to the next; the server decides."""

DATA_ELEMENT = "{data_element}"
"""In the text of a reason, for the identifier of the value's data element."""

UNTIMELY = frozenset({"E7640", "E7641", "E7643"})
"""The codes of what another data set need not find wrong."""


class PeriodRules:
    """Which periods the data set and its org units are open for, at one moment, as far as that is certain."""

    def __init__(self, known: MetadataCache, now: datetime) -> None:
        self.server = known.server
        self._known = known
        self._data_set = known.data_set
        self._now = now
        self._format = _period_format(known)
        # From 2.43 data input periods count instead of expiry days and open future periods, not beside them.
        self._only_input_periods = known.server.imports_by_group and bool(known.data_set.input_periods)
        self._open_before = self._first_day_not_open()
        self._may_edit_expired = known.user.may("F_EDIT_EXPIRED")
        self._input_periods: dict[str, list[InputPeriod]] = {}
        for given in known.data_set.input_periods:
            if found := self.find(given.period):
                self._input_periods.setdefault(found.label, []).append(given)

    def find(self, label: str) -> Period | None:
        """Find the period of a label; ``None`` where there is none, or where it cannot be judged."""
        return find_period(label) if self._format is not None else None

    def faults(self, label: str, org_unit: OrgUnit | None, *, deletes: bool) -> Iterator[Reason]:
        """Yield what is wrong with a period in an org unit.

        What is deleted nobody looks for in a closed org unit; but from 2.43 the server checks it all the same.
        """
        if self._format is None:
            return
        period, data_set = self.find(label), self._data_set
        if period is None:
            yield Reason("E7611", f"Period not valid: `{label}`")
            return
        if not self._is_of_type(period):
            said = f"Period type of period: `{label}` not valid for data element: `{DATA_ELEMENT}`"
            types = f"the data set is {data_set.period_type}, the period {period.type_name}"
            yield Reason("E7632", f"{said} ({types})")
        if org_unit is None:
            return
        hint = self.closure(org_unit, period)
        if hint is not None and (not deletes or self.server.imports_by_group):
            said = f"Untimely data entry for org unit {org_unit.id} and period(s): `[{period.label}]`"
            yield Reason("E8031", f"{said} ({hint})")
        if self.is_expired_in(org_unit, period):
            said = f"Current date is past expiry days for period: `{label}` and data set: `{data_set.id}`"
            yield Reason("E7640", said)
        if self._open_before is not None and self.is_too_early(period):
            latest = self._format.label(add_days(self._open_before, -1))
            said = f"Period: `{label}` is after latest open future period: `{latest}` for data element"
            yield Reason("E7641", f"{said}: `{DATA_ELEMENT}` and data set: `{data_set.id}`")
        if self.is_kept_out_by_input_periods(period):
            said = f"Period: `{label}` is not open for this data set at this time: `{data_set.id}`"
            yield Reason("E7643", said)

    def is_expired_in(self, org_unit: OrgUnit, period: Period) -> bool:
        """Whether the expiry days are over, and there is no exception for the org unit."""
        exempt = self.exempt_org_units(period)
        return exempt is not None and self.is_expired(period) and exempt.isdisjoint({org_unit.id, ""})

    def exempt_org_units(self, period: Period) -> frozenset[str] | None:
        """Return the UIDs of the org units for which the expiry days do not count; ``""`` is all of them.

        ``None`` while, or where, that is not known: then the server decides.
        """
        locks = self._known.lock_exceptions
        return None if locks is None else frozenset(unit for unit, label in locks if label == period.label)

    def is_expired(self, period: Period) -> bool:
        """Whether the expiry days are over, by a day at least."""
        return self._is_certain(period) and self.may_be_expired(period, _A_DAY)

    def may_be_expired(self, period: Period, margin: timedelta = -_A_DAY) -> bool:
        """Whether the expiry days may be over by the server's reckoning."""
        days = self._data_set.expiry_days
        if days == 0 or self._may_edit_expired or self._only_input_periods:
            return False
        last = datetime.combine(period.day_after, datetime.min.time())
        return self._now > last + timedelta(days=days) + margin

    def is_too_early(self, period: Period) -> bool:
        """Whether it is after the latest open one; from 2.43 who may edit expired periods may fill in future ones."""
        return (
            self._open_before is not None
            and not (self._may_edit_expired and self.server.imports_by_group)
            and not self._only_input_periods
            and self._is_certain(period)
            and period.first_day >= self._open_before
        )

    def is_kept_out_by_input_periods(self, period: Period) -> bool:
        """Whether there is no data input period for it, or only ones that are closed, by a day at least."""
        if not self._data_set.input_periods or not self._is_of_type(period):
            return False
        is_inverted = self.server.inverts_input_periods and self.input_periods_of(period)
        return not is_inverted and not self.is_open_by_input_period(period)

    def input_periods_of(self, period: Period) -> Sequence[InputPeriod]:
        """Find the data input periods of a period, open or not."""
        return self._input_periods.get(period.label, ())

    def is_open_by_input_period(self, period: Period) -> bool:
        """Whether one of the period's data input periods is open, give or take a day."""
        today = self._now.date()
        return any(
            (given.opening_date is None or given.opening_date <= add_days(today, 1))
            and (given.closing_date is None or given.closing_date >= add_days(today, -1))
            for given in self.input_periods_of(period)
        )

    def closure(self, org_unit: OrgUnit, period: Period) -> str | None:
        """Return since or until when the org unit is closed, where that keeps the period's values out.

        Up to 2.42 the server takes values for any period. What lies wholly before the opening date or after the closed
        date is shown to nobody; a period with open days is sent. From 2.43 the first day decides: the server
        refuses a period in which the org unit opened, and takes one in which it closed.
        """
        if not self._is_certain(period):
            return None
        opening, closing = org_unit.opening_date, org_unit.closed_date
        last_chance = period.first_day if self.server.imports_by_group else add_days(period.day_after, -1)
        if opening is not None and last_chance < opening:
            return f"it opened on {opening}"
        if closing is not None and period.first_day > closing:
            return f"it closed on {closing}"
        return None

    def _is_of_type(self, period: Period) -> bool:
        return self._format is not None and period.type_name == self._format.text

    def _is_certain(self, period: Period) -> bool:
        """Whether the period is of the right type, and its days are beyond doubt."""
        is_unsure = period.type_name == _UNSURE_TYPE or period.label.endswith(_UNSURE_LABEL)
        return self._is_of_type(period) and not is_unsure

    def _first_day_not_open(self) -> date | None:
        """Return the day after the latest open period; without open future periods the current one is closed."""
        count = self._data_set.open_future_periods
        if self._format is None or not 0 <= count <= _MOST_FUTURE_PERIODS:
            return None
        # At the turn of a period the server may be a little ahead of what is known of its clock.
        day = self._format.first_day((self._now + _SOON).date())
        for _ in range(count):
            day = self._format.first_day(self._format.day_after(day))
        return day


def _period_format(known: MetadataCache) -> PeriodFormat | None:
    """Return the data set's period type; ``None`` where its periods cannot be judged."""
    if not known.server.has_iso_calendar:
        return None
    try:
        return PeriodFormat.parse(known.data_set.period_type)
    except ValueError:
        return None
