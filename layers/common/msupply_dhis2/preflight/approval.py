"""Whether the data of the periods that values are sent for are approved already."""

from collections.abc import Mapping, Sequence

from msupply_dhis2.dhis2.models import OrgUnit, Server
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import called
from msupply_dhis2.text import count

NAME = "approved data"
_CURE = (
    "Have the approval taken back in DHIS2's Data approval app where the new values must go in, or let the schedule run "
    "before the data are approved."
)


def check_no_guard(server: Server) -> Check:
    """Say that the server does not keep approved data from being overwritten."""
    return noted(
        NAME,
        f"The data set has an approval workflow, but DHIS2 {server.version_text}: this release does not protect "
        "approved data. A push overwrites approved values. Let the schedule run before the data are approved, and send "
        "no earlier months that are.",
    )


def check_approved(approved: Mapping[str, Sequence[OrgUnit]], org_units: int) -> Check:
    """Whether data are approved, so that DHIS2 refuses new values.

    Parameters
    ----------
    approved
        The org units whose data are approved, by period.
    org_units
        How many were looked at.
    """
    details = [
        f"{called(org_unit)}: the data of {label} are approved."
        for label, of_it in approved.items()
        for org_unit in of_it
    ]
    if not details:
        return passed(
            NAME,
            f"The data set has an approval workflow; nothing is approved in {count(org_units, 'org unit')}.",
        )
    closed = {org_unit.id for of_it in approved.values() for org_unit in of_it}
    return failed(
        NAME,
        f"The data of {len(closed):,} of {count(org_units, 'org unit')} are approved; DHIS2 refuses values for them. "
        f"{_CURE}",
        details,
    )


def check_unknown(failure: Exception) -> Check:
    """Say that nobody knows what is approved."""
    return noted(
        NAME,
        "The data set has an approval workflow: periods that are approved take no more values. Which are approved "
        f"cannot be read: {failure}",
    )
