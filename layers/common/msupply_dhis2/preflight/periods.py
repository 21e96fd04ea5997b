"""Whether the periods that values are sent for are of the data set's type, and open today."""

from contextlib import suppress
from datetime import timedelta

from msupply_dhis2.dhis2.error_catalogue import CALENDAR
from msupply_dhis2.dhis2.import_request import UIDS
from msupply_dhis2.dhis2.metadata import MetadataCache
from msupply_dhis2.dhis2.models import DataSet
from msupply_dhis2.dhis2.period_rules import PeriodRules
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.periods import Basis, Period, PeriodFormat, Window, find_period
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import Facts, cure_of, title_of
from msupply_dhis2.text import shown_day

FORMAT = "period format"
MANUAL = "a manual push now"
REFUSED = "DHIS2 would refuse every value"
_INVERTED = "this release refuses a data input period while it is open, and takes it while it is closed (DHIS2-21981)."


def check_periods(facts: Facts) -> None:
    """Tell whether the periods of a run now suit the data set, and are open; of a manual push too, if that is asked."""
    data_set, windows = facts.data_set, facts.windows
    suits = _check_format(facts, data_set) if data_set and windows else None
    facts.tell(FORMAT, suits)
    if data_set is None or suits is None or not suits.ok:
        facts.not_asked += [*map(open_name, windows), MANUAL]
        return
    rules = facts.rules = _period_rules(facts, data_set)
    for basis, window in windows.items():
        if period := rules.find(window.period):
            facts.periods[window.period] = period
            check = _check_open(rules, data_set, period)
            days = days_of(window)
            facts.tell(open_name(basis), check or passed(f"{days[0].upper()}{days[1:]}, is open."))
    if facts.manual and (period := rules.find(facts.manual.period)):
        check = _check_open(rules, data_set, period)
        # Where it is closed, the schedules may still be well.
        is_open = "It is open." if check is None else f"{'' if check.ok else f'{REFUSED}. '}{check.message}"
        said = f"Manual push, current day: {days_of(facts.manual)}. {is_open}"
        facts.tell(MANUAL, noted(said) if check else passed(said))


def _period_rules(facts: Facts, data_set: DataSet) -> PeriodRules:
    """Return what judges periods as push does."""
    server = facts.server_or_newest
    known = MetadataCache(server, facts.user, data_set, UIDS, read_at=0)
    rules = PeriodRules(known, server.server_date)
    periods = (rules.find(window.period) for window in facts.windows.values())
    if any(rules.is_expired(period) for period in periods if period):
        # Where they cannot be read, push leaves expired periods to the server, which refuses them.
        with suppress(Dhis2Error):
            known.look_up_locks(facts.client)
    return rules


def _check_format(facts: Facts, data_set: DataSet) -> Check:
    """Whether the labels of the periods mean periods of the data set's type to this server."""
    server, wanted = facts.server_or_newest, data_set.period_type
    if not server.has_iso_calendar:
        calendar = f"DHIS2 keeps its periods in the calendar '{server.calendar}'"
        return failed(f"{calendar}, where ISO labels mean other months: nothing is sent. {cure_of(CALENDAR)}")
    written = f"{title_of('period_format')} '{facts.settings.period_format}'"
    labels = [window.period for window in facts.windows.values()]
    for label in labels:
        if (period := find_period(label)) and period.type_name != wanted:
            return failed(
                f"{written} makes {label}, which is a period of the type {period.type_name}, but the data set's "
                f"period type is {wanted}; every value is refused. {_cure(wanted)}"
            )
    return passed(f"{written} suits the data set, which is {wanted}: {', '.join(labels)}.")


def _cure(period_type: str) -> str:
    try:
        PeriodFormat.parse(period_type)
    except ValueError:
        return (
            "No value can be sent for such periods: use a data set of another period type, such as Monthly."
        )
    return f"Set period_format: {period_type}."


def open_name(basis: Basis) -> str:
    """Return the name of the check for a basis."""
    return f"open period, {basis.value.replace('_', ' ')}"


def days_of(window: Window) -> str:
    """Name a run's period and its days: ``period 202611, 1 November 2026 to 29 November 2026 so far``."""
    period = find_period(window.period)
    if period is None:
        return f"period {window.period}"
    is_running = window.basis is Basis.CURRENT_DAY
    first, last = period.first_day, window.snapshot_date if is_running else period.day_after - timedelta(1)
    days = shown_day(last) if first == last else f"{shown_day(first)} to {shown_day(last)}"
    return f"period {window.period}, {days}{' so far' if is_running else ''}"


def _check_open(rules: PeriodRules, data_set: DataSet, period: Period) -> Check | None:
    """Whether a value could be entered today, the server's date, and why not; ``None`` where it surely can."""
    label, release = period.label, f"DHIS2 {rules.server.version_text}"
    closed, notes = [], []
    if rules.is_too_early(period):
        open_periods = data_set.open_future_periods
        closed.append(
            f"{label} is not open yet: the data set's open future periods are {open_periods}. {cure_of('E7641')}"
        )
    if rules.is_expired(period) and rules.exempt_org_units(period):
        notes.append(
            f"{label} is past the data set's expiry days: only org units with a lock exception take values. The check of the "
            "stores names those without one."
        )
    elif rules.is_expired(period):
        days, last = data_set.expiry_days, period.day_after - timedelta(1) + timedelta(data_set.expiry_days)
        since = f"{label} has been closed since {last.isoformat()}"
        closed.append(f"{since}: the data set's expiry days are {days:g}. {cure_of('E7640')}")
    dates = f"{label} is not among the data set's data input periods"
    if named := rules.input_periods_of(period):
        opening, closing = named[0].opening_date, named[0].closing_date
        since, until = f" from {opening}" if opening else "", f" until {closing}" if closing else ""
        dates = f"{label} is a data input period of the data set, but open only{since}{until}"
    if rules.is_kept_out_by_input_periods(period):
        closed.append(f"{dates}. {cure_of('E7643')}")
    elif named and rules.server.inverts_input_periods and rules.is_open_by_input_period(period):
        closed.append(
            f"{label} is open by the data set's data input periods, and {release} refuses it for that (E8030): {_INVERTED} "
            "Upgrade DHIS2 to 2.43.2 or later. Until then remove the data input periods of the data set."
        )
    elif named and rules.server.inverts_input_periods:
        notes.append(f"{dates}, but {release} takes its values anyway: {_INVERTED}")
    if closed:
        return failed(" ".join(closed))
    return noted(" ".join(notes)) if notes else None
