"""What a push says before it begins: which one it is, its periods and their days, and whether DHIS2 would refuse them."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence

from msupply_dhis2.compute.event import BasisChoice, ComputeEvent, written_months
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.periods import Basis, Window
from msupply_dhis2.preflight.check import Check
from msupply_dhis2.preflight.periods import FORMAT, MANUAL, REFUSED, days_of, open_name

type Tell = Callable[[str, int], None]
"""Takes a sentence about what happens, and its level of ``logging``."""

_TITLES = {
    BasisChoice.CURRENT_DAY: "Manual push, current day",
    BasisChoice.PREVIOUS_MONTH: "Manual push, previous month",
    BasisChoice.AS_IN_SETTINGS: "As scheduled, each row on its own basis",
}

_SECONDS = re.compile(r"(T\d\d:\d\d):[\d.]+")


class RefusedPushError(MsupplyDhis2Error):
    """DHIS2 would refuse every value of a push, so nothing is queued or sent."""


def title_of(event: ComputeEvent) -> str:
    """Name the push that an event asks for."""
    if event.months is not None:
        return f"Months that are over, {written_months(event.months)}"
    # To the minute: a page asks for the instant of its preview, microseconds and all.
    to_the_minute = _SECONDS.sub(r"\1", event.as_of or "")
    as_of = f", as of {to_the_minute}" if event.as_of else ""
    return f"{_TITLES[event.basis_choice]}{as_of}"


CHARTS = "Charts stay as they are until DHIS2 has built its analytics tables."


def about_charts(last_built: str | None) -> str:
    """Return when charts show what DHIS2 holds; ``last_built``: when it last built its analytics tables, by its own clock."""
    return (
        f"{CHARTS} {f'It last did so at {last_built} by its own clock.' if last_built else 'It never has.'}"
    )


def tell_days(event: ComputeEvent, windows: Mapping[Basis, Window], tell: Tell) -> None:
    """Tell which push it is, and the days of its periods."""
    one = event.basis_choice is not BasisChoice.AS_IN_SETTINGS
    days = [
        f"{'' if one else f'{basis.replace("_", " ")}, '}{days_of(window)}"
        for basis, window in windows.items()
    ]
    tell(f"{title_of(event)}{': ' if days else ''}{'; '.join(days)}.", logging.INFO)


def tell_from_checks(event: ComputeEvent, checks: Sequence[Check], tell: Tell) -> None:
    """Tell the same where only the checks of a stack's connection test know the days."""
    asked = [check.message for check in _about(event, checks) if check.ok]
    if asked and event.basis_choice is BasisChoice.CURRENT_DAY:
        tell(asked[0].partition(f" {REFUSED}")[0], logging.INFO)
    else:
        tell(" ".join((f"{title_of(event)}.", *asked)), logging.INFO)


def insist_on_open(event: ComputeEvent, checks: Sequence[Check], tell: Tell, otherwise: str) -> None:
    """Tell which of the push's periods DHIS2 would refuse, by the checks of a preflight.

    Parameters
    ----------
    otherwise
        Why the checks do not know, where they do not.

    Raises
    ------
    RefusedPushError
        It would refuse all of them.
    """
    asked = _about(event, checks)
    if not asked:
        tell(f"It is not known whether DHIS2 would refuse the period. {otherwise}", logging.WARNING)
    refused = [check.message for check in asked if not check.ok or REFUSED in check.message]
    said = [f"{REFUSED}.{message.partition(f'{REFUSED}.')[2] or f' {message}'}" for message in refused]
    if asked and len(refused) == len(asked):
        raise RefusedPushError(f"{' '.join(said)} Nothing was sent.")
    for message in refused:
        tell(f"DHIS2 would refuse a part of the values. {message}", logging.WARNING)


def _about(event: ComputeEvent, checks: Sequence[Check]) -> list[Check]:
    names = {
        BasisChoice.CURRENT_DAY: [MANUAL],
        BasisChoice.PREVIOUS_MONTH: [open_name(Basis.PREVIOUS_MONTH)],
        BasisChoice.AS_IN_SETTINGS: [open_name(basis) for basis in Basis],
    }[event.basis_choice]
    return [check for check in checks if check.name in names or (check.name == FORMAT and not check.ok)]
