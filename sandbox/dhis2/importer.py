"""What both importers share: who pushes what, where and when, and the choice between the two."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sandbox.dhis2.metadata import MAY_EDIT_EXPIRED, DataSet, LockException, Metadata, User
from sandbox.dhis2.periods import FIRST_RELEASES, Period, latest_open_period, parse_period
from sandbox.dhis2.values import ValueStore
from sandbox.dhis2.versions import Version


@dataclass(frozen=True, slots=True)
class Server:
    """The state that a push meets."""

    version: Version
    metadata: Metadata
    store: ValueStore
    now: datetime
    user: User
    raced_periods: frozenset[str] = frozenset()
    """Periods that another call was opening just when this one came; see ``FaultKind.PERIOD_RACE``."""
    stale_cache: str | None = None
    """The code (E7632 or E7644) for which each row is refused because of what the server read before; up to 2.42."""
    cached_periods: frozenset[str] = frozenset()
    """The periods, by their ISO names, for which E7644 is not said: the server had read the data set for them."""
    users: Mapping[str, User] = field(default_factory=dict)
    """Everybody who can log in."""
    last_analytics: datetime | None = None
    """When the analytics tables were last built."""

    @property
    def today(self) -> date:
        """The day on the server's clock."""
        return self.now.date()

    def period(self, text: str | None) -> Period | None:
        """Return the period that a text means to this version."""
        period = parse_period(text) if text else None
        if period is None or FIRST_RELEASES.get(period.period_type, 0) > self.version.minor:
            return None
        return period

    def latest_open_period(self, data_set: DataSet) -> Period:
        """Return the last period that the data set may be filled in for today."""
        return latest_open_period(data_set.period_type, data_set.open_future_periods, self.today)

    def is_after_latest_open_period(self, data_set: DataSet, period: Period) -> bool:
        """Whether the period is still to come, as far as the data set goes; from 2.43 some users need not wait for it."""
        if self.version.imports_by_group and self.user.may(MAY_EDIT_EXPIRED):
            return False
        return period.first > self.latest_open_period(data_set).last

    def is_expired(self, data_set: DataSet, period: Period, org_unit_id: str) -> bool:
        """Whether the data set's days of grace after the period are over for this user and org unit."""
        if data_set.expiry_days == 0 or self.user.may(MAY_EDIT_EXPIRED):
            return False
        exception = LockException(data_set_id=data_set.id, org_unit_id=org_unit_id, period=period.iso)
        if exception in self.metadata.lock_exceptions:
            return False
        return (self.today - period.last).days > data_set.expiry_days

    def is_not_input_period(self, data_set: DataSet, period: Period) -> bool:
        """Whether the data set has data input periods and this is none that is open today."""
        of_it = [given for given in data_set.data_input_periods if given.period == period.iso]
        if not data_set.data_input_periods:
            return False
        if of_it and self.version.inverts_input_periods:
            return any(given.is_open_on(self.today) for given in of_it)
        return not any(given.is_open_on(self.today) for given in of_it)

    def is_untimely(self, data_set: DataSet, period: Period, org_unit_id: str) -> bool:
        """Whether 2.43 takes nothing for the period: where there are data input periods, they alone count."""
        if data_set.data_input_periods:
            return self.is_not_input_period(data_set, period)
        return self.is_after_latest_open_period(data_set, period) or self.is_expired(
            data_set, period, org_unit_id
        )
