"""What is to be made, from the systems that are named: mSupply's database or a deployed stack, and DHIS2."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cli.local import Systems
from cli.metadata.objects import PREFIX, Brief
from cli.metadata.plan import Plan, make_plan
from cli.metadata.refusals import told_as_import
from cli.metadata.shape import Shape, settings_for
from cli.metadata.subjects import Thresholds, commonest_thresholds, read_lines
from msupply_dhis2.compute.mapped import export_mapping
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.source.base import Source

if TYPE_CHECKING:
    from cli.stack import Stack

_THRESHOLDS = sa.text(
    "SELECT p.months_understock, p.months_overstock FROM store_preference p JOIN store s ON s.id = p.id"
)


def brief_of_systems(systems: Systems, shape: Shape, *, access: bool, prefix: str = PREFIX) -> Brief:
    """Read an mSupply database, by the settings that the shape needs: those that are given may lack what it does not."""
    settings = settings_for(systems.settings(), shape)
    lines: list[Mapping[str, object]] = []
    export_mapping(lambda: systems.open_database(settings), settings, lines.append)
    subjects = read_lines(lines, settings, thresholds_of(systems, settings))
    return Brief(subjects, settings, shape, access, prefix)


def brief_of_stack(
    stack: "Stack", url: str | None, shape: Shape, *, access: bool, prefix: str = PREFIX
) -> Brief:
    """Have a deployed stack read mSupply by its own settings; ``url``: another address of DHIS2 than theirs."""
    given = parse_settings(stack.settings_document(), url=url)
    return replace(brief_of_lines(stack.mapping(), given, shape, access=access), prefix=prefix)


def brief_of_lines(
    lines: Iterable[Mapping[str, Any]],
    given: Settings,
    shape: Shape,
    *,
    access: bool,
    thresholds: Thresholds | None = None,
) -> Brief:
    """Return what is to be made from an export of the mapping, which was made with the given settings."""
    return Brief(read_lines(lines, given, thresholds), settings_for(given, shape), shape, access)


def compared(brief: Brief, login: Systems | None, *, update: bool) -> Plan:
    """Compare with what DHIS2 has, where a login is given."""
    if login is None:
        return make_plan(brief, update=update)
    with told_as_import(), client_of(brief.settings, login) as client:
        return make_plan(brief, client, update=update)


def client_of(settings: Settings, login: Systems) -> Dhis2Client:
    """Return a session with DHIS2 for whoever may change its metadata; of the systems only the login is used."""
    return Dhis2Client.of(settings, login.credentials(settings))


def thresholds_of(systems: Systems, settings: Settings) -> Thresholds:
    """Read the thresholds of a database's stores."""
    with systems.open_database(settings) as source:
        return read_thresholds(source)


def read_thresholds(source: Source) -> Thresholds:
    """Read the months of stock that mSupply's stores take for too little and too much; its defaults where it has none."""
    inspected = sa.inspect(source.connection)
    if not {"store_preference", "store"} <= set(inspected.get_table_names()):
        return Thresholds()
    columns = {each["name"] for each in inspected.get_columns("store_preference")}
    if not {"months_understock", "months_overstock"} <= columns:
        return Thresholds()
    return commonest_thresholds([(low, high) for low, high in source.connection.execute(_THRESHOLDS)])
