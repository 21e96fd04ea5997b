"""What the user and the server allow: version, authority, data set, write access, org units, approved data."""

from collections.abc import Mapping, Sequence

from msupply_dhis2.dhis2.models import DataSet, Identified, OrgUnit, Server, User
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import Nearest, called, title_of
from msupply_dhis2.settings import Settings
from msupply_dhis2.text import count, joined

OLDEST = (2, 36)
NEWEST = (2, 43)
ADD_DATA_VALUES = "F_DATAVALUE_ADD"
ALL = "ALL"
WRITE_ACCESS = "write access"
REACH = "org unit reach"
TRIAL = "trial call"
IMPORT_SETTINGS = "import settings"
APPROVED = "approved data"


def check_server(server: Server) -> Check:
    """Whether the server's version is one whose behaviour is known."""
    said = f"{server.name}, version {server.version_text}."
    supported = f"{_version(OLDEST)} to {_version(NEWEST)} are supported"
    if not server.is_known_version:
        said += f" This version is not understood; {supported}. It is taken for {_version(NEWEST)}."
    elif server.version < OLDEST:
        said += (
            f" This is older than what is supported: {supported}. Values may be stored, but rejections may not be "
            "told with their reasons. Upgrade DHIS2."
        )
    elif server.version > NEWEST:
        said += (
            f" This is newer than what is supported: {supported}. It is taken for {_version(NEWEST)}: look whether "
            "there is a newer release of msupply-dhis2, and compare what DHIS2 shows after the first push."
        )
    else:
        return passed("server", said)
    return failed("server", said)


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def check_authority(user: User) -> Check:
    """Whether the user may add data values at all."""
    if user.may(ADD_DATA_VALUES):
        return passed("authority", f"{user.username} may add data values.")
    return failed(
        "authority",
        f"{user.username} has no right to add data values. Give the user a role with the authority "
        f'"Add/Update Data Value" ({ADD_DATA_VALUES}) in DHIS2\'s Users app.',
    )


def check_trial(user: User, refusal: Dhis2Error | None) -> Check:
    """Whether a call like those of a push, but without values, gets through."""
    if refusal is None:
        return passed(TRIAL, f"DHIS2 takes a call without values that {user.username} posts.")
    return failed(
        TRIAL, f"A call without values, posted as push posts its values, does not get through. {refusal}"
    )


def check_import_settings(required: Sequence[str]) -> Check:
    """Note the system settings by which DHIS2 insists on option combos."""
    return noted(
        IMPORT_SETTINGS,
        f"DHIS2's System Settings app has {joined(required)} switched on. Nothing needs to be done: push names the "
        "option combos with every value, 'default' too, wherever it may read the data set.",
    )


def check_data_set(
    data_set: DataSet | None, settings: Settings, user: User, others: Sequence[Identified]
) -> Check:
    """Whether there is such a data set, as far as the user may see; ``others`` are those that there are instead."""
    if data_set is not None:
        return passed(
            "data set",
            f"{called(data_set)}: {data_set.period_type}, {count(len(data_set.data_elements), 'data element')}, "
            f"{count(len(data_set.org_units), 'org unit')}.",
        )
    scheme = settings.data_set_id_scheme
    return failed(
        "data set",
        f"DHIS2 has no data set whose {scheme.value} is {settings.data_set_id}, or does "
        f"not let {user.username} see it. Check {title_of('data_set_id')} and {title_of('data_set_id_scheme')}, and "
        f"that the data set is shared with the user.{Nearest(others).guess(settings.data_set_id, '', scheme)}",
    )


def check_write_access(data_set: DataSet, user: User) -> Check:
    """Whether the user may enter data into the data set."""
    where = f"the data set {data_set.name}"
    if data_set.may_write:
        return passed(WRITE_ACCESS, f"{user.username} may enter data into {where}.")
    if data_set.may_write is None:
        return failed(
            WRITE_ACCESS,
            f"DHIS2 does not say whether {user.username} may enter data into {where}. Make sure in DHIS2 that it is "
            'shared with the user, with data access "can capture and view".',
        )
    return failed(
        WRITE_ACCESS,
        f"{user.username} may not enter data into {where}. Share the data set with the user, with data access "
        '"can capture and view".',
    )


def check_reach(user: User, org_units: Sequence[OrgUnit]) -> Check:
    """Whether the org units that stores are mapped to, or else those of the data set, are the user's."""
    if ALL in user.authorities:
        return passed(REACH, f"{user.username} has all authorities.")
    if not user.org_units:
        return failed(
            REACH,
            f'{user.username} has no "data capture and maintenance" org units, so that values may be refused. '
            "Give the user the org units, or one above them, in DHIS2's Users app.",
        )
    outside = [called(org_unit) for org_unit in org_units if user.is_kept_out_of(org_unit)]
    if not outside:
        return passed(REACH, f"{user.username} may enter data in all {count(len(org_units), 'org unit')}.")
    return failed(
        REACH,
        f"{len(outside):,} of {count(len(org_units), 'org unit')} lie outside the part of the hierarchy "
        f"in which {user.username} may enter data; values for them are refused. Add them, or an org unit above them, to "
        'the user\'s "data capture and maintenance" org units.',
        outside,
    )


def check_approved(approved: Mapping[str, Sequence[OrgUnit]], looked_at: int) -> Check:
    """Whether data are approved, by period, so that DHIS2 refuses new values for these org units."""
    details = [
        f"{called(org_unit)}: the data of {label} are approved."
        for label, org_units in approved.items()
        for org_unit in org_units
    ]
    number = count(looked_at, "org unit")
    if not details:
        return passed(APPROVED, f"The data set has an approval workflow; nothing is approved in {number}.")
    closed = {org_unit.id for org_units in approved.values() for org_unit in org_units}
    return failed(
        APPROVED,
        f"The data of {len(closed):,} of {number} are approved; DHIS2 refuses values for them. Have the approval taken "
        "back in DHIS2's Data approval app where the new values must go in, or let the schedule run before the data are "
        "approved.",
        details,
    )


def note_unguarded_approval(server: Server) -> Check:
    """Note that the server does not keep approved data from being overwritten."""
    return noted(
        APPROVED,
        f"The data set has an approval workflow, but DHIS2 {server.version_text}: this release does not protect "
        "approved data. A push overwrites approved values. Let the schedule run before the data are approved, and send "
        "no earlier months that are.",
    )


def note_unknown_approval(failure: Dhis2Error) -> Check:
    """Note that nobody knows what is approved."""
    return noted(
        APPROVED,
        "The data set has an approval workflow: periods that are approved take no more values. Which are approved "
        f"cannot be read: {failure}",
    )
