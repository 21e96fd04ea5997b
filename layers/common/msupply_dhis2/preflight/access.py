"""What the user and the server allow: version, authority, data set, write access, org units, approved data."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from msupply_dhis2.dhis2 import metadata
from msupply_dhis2.dhis2.error_catalogue import ConnectionFault
from msupply_dhis2.dhis2.import_request import Schemes, request_body, request_parameters
from msupply_dhis2.dhis2.models import NEWEST, Identified, OptionCombo, OrgUnit
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.check import Check, failed, judged, noted, passed
from msupply_dhis2.preflight.facts import LOOKED_UP, Facts, Nearest, called, cure_of
from msupply_dhis2.text import all_of, count, joined

_OLDEST = (2, 36)
ADD_DATA_VALUES = "F_DATAVALUE_ADD"
_REQUIRED_COMBOS = {
    "keyDataImportRequireCategoryOptionCombo": "'Require category option combo'",
    "keyDataImportRequireAttributeOptionCombo": "'Require attribute option combo'",
}
"""System settings that refuse values without option combos, up to 2.42."""


def check_server(facts: Facts) -> Check:
    """Whether the server's version is one whose behaviour is known."""
    try:
        server = facts.server = metadata.read_server(facts.client)
    except Dhis2Error as error:
        return failed(str(error))
    said = f"{server.name}, version {server.version_text}."
    oldest, newest = (f"{major}.{minor}" for major, minor in (_OLDEST, NEWEST))
    if server.is_known_version and _OLDEST <= server.version <= NEWEST:
        return passed(said)
    why, cure = "unknown", f"It is treated as {newest}."
    if server.version < _OLDEST:
        why, cure = "older than what is supported", "Rejections may lack their reasons. Upgrade DHIS2."
    elif server.is_known_version:
        why, compare = "newer than what is supported", "compare what DHIS2 shows after the first push"
        cure += f" Look for a newer release of msupply-dhis2, and {compare}."
    return failed(f"{said} This version is {why}: {oldest} to {newest} are supported. {cure}")


def check_authority(facts: Facts) -> Check:
    """Whether the user may add data values at all."""
    user = facts.user
    if user.may(ADD_DATA_VALUES):
        return passed(f"{user.username} may add data values.")
    _, cure = ConnectionFault.FORBIDDEN.words(url="", username=user.username)
    return failed(f"{user.username} has no right to add data values. {cure}.")


def check_trial(facts: Facts) -> Check | None:
    """Whether a call like those of a push, but without values, gets through.

    A token or a firewall that lets only GET pass shows in nothing that is read.
    """
    settings = facts.settings
    if not settings.data_set_id:
        return None
    schemes = Schemes(settings.data_set_id_scheme, settings.data_element_id_scheme, settings.org_unit_scheme)
    body = request_body(settings.data_set_id, (), schemes)
    try:
        facts.client.post_data_values(body, request_parameters(schemes))
    except Dhis2Error as error:
        return failed(f"DHIS2 refuses a call without values that is posted as push posts its values. {error}")
    return passed(f"DHIS2 accepts a call without values from {facts.user.username}.")


def note_import_settings(facts: Facts) -> None:
    """Note the system settings that insist on option combos; where they may not be read, push copes as well."""
    if facts.server_or_newest.imports_by_group:
        return
    with suppress(Dhis2Error):
        required = [
            title
            for key, title in _REQUIRED_COMBOS.items()
            if metadata.read_system_setting(facts.client, key)
        ]
        if required:
            said = f"DHIS2's System Settings app has {joined(required)} switched on"
            cure = "Nothing needs to be done: push names the option combos with every value, 'default' too."
            facts.tell("import settings", noted(f"{said}. {cure}"))


def check_data_set(facts: Facts) -> Check | None:
    """Whether there is such a data set, as far as the user may see, and which of the others is meant where there is not."""
    settings, scheme = facts.settings, facts.settings.data_set_id_scheme
    if not settings.data_set_id:
        return None
    try:
        data_set = facts.data_set = metadata.read_data_set(facts.client, settings.data_set_id, scheme)
    except Dhis2Error as error:
        meanwhile = "waits until it can" if error.is_transient else "goes on anyway"
        return failed(
            "The data set cannot be read, so many of the other checks are not possible. A push "
            f"{meanwhile}. {error}"
        )
    if data_set is not None:
        return passed(
            f"{called(data_set)}: {data_set.period_type}, {count(len(data_set.data_elements), 'data element')}, "
            f"{count(len(data_set.org_units), 'org unit')}."
        )
    others: Sequence[Identified] = ()
    with suppress(Dhis2Error):
        others = metadata.list_data_sets(facts.client)
    no = f"DHIS2 has no data set whose {scheme.value} is {settings.data_set_id}, or {facts.user.username} may not see it"
    guess = Nearest(others).guess(settings.data_set_id, "", scheme)
    return failed(f"{no}. {cure_of('E7600')}{guess}")


def check_write_access(facts: Facts) -> Check | None:
    """Whether the user may enter data into the data set."""
    data_set, user = facts.data_set, facts.user.username
    if data_set is None:
        return None
    may = f"enter data into the data set {data_set.name}"
    if data_set.may_write:
        return passed(f"{user} may {may}.")
    is_told = data_set.may_write is not None
    fault = f"{user} may not {may}" if is_told else f"DHIS2 does not say whether {user} may {may}"
    return failed(f"{fault}. {cure_of('E7601')}")


def check_reach(facts: Facts, org_units: Sequence[OrgUnit]) -> Check:
    """Whether the org units that stores are mapped to, or else those of the data set, are the user's."""
    user = facts.user
    if "ALL" in user.authorities:
        return passed(f"{user.username} has all authorities.")
    if not user.org_units:
        none = f'{user.username} has no "data capture and maintenance" org units, so values may be refused'
        return failed(f"{none}. {cure_of('E7617')}")
    outside = [called(org_unit) for org_unit in org_units if user.is_kept_out_of(org_unit)]
    number = count(len(org_units), "org unit")
    return judged(
        outside,
        f"{user.username} may not enter data in {len(outside):,} of {number}. {cure_of('E7617')}",
        f"{user.username} may enter data in {all_of(len(org_units), 'org unit')}.",
    )


def check_approved(facts: Facts, workflow: str, used: Mapping[OptionCombo, bool]) -> Check:
    """Whether data are approved, so that DHIS2 refuses new values; ``used`` are the option combos of the values."""
    server = facts.server_or_newest
    if server.imports_by_group:
        return noted(
            f"The data set has an approval workflow, but DHIS2 {server.version_text} does not protect approved data: a push "
            "overwrites them. Let the schedule run before the data are approved, and send no earlier months that are."
        )
    asked = {org_unit.id: org_unit for org_unit in facts.org_units[:LOOKED_UP]}
    combos = [combo.id for combo, is_attribute in used.items() if is_attribute]
    closed: list[tuple[str, str]] = []
    try:
        for period in facts.periods.values():
            found = metadata.find_approved(facts.client, workflow, period.label, asked, combos)
            closed += [(org_unit, period.label) for org_unit in sorted(found & asked.keys())]
    except Dhis2Error as error:
        return noted(
            f"The data set's approval workflow closes approved periods. DHIS2 does not say which: {error}"
        )
    number = count(len(asked), "org unit")
    return judged(
        [f"{called(asked[org_unit])}: the data of {label} are approved." for org_unit, label in closed],
        f"The data of {len(dict(closed)):,} of {number} are approved; DHIS2 refuses values for them. {cure_of('E7642')} Or let "
        "the schedule run before the data are approved.",
        f"The data set has an approval workflow; nothing is approved in {number}.",
    )
