"""A plan from the systems that a command names: mSupply's database or a deployed stack, and DHIS2."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cli.local import Systems
from cli.metadata.objects import Brief
from cli.metadata.plan import Plan, make_plan
from cli.metadata.shape import Shape, settings_for
from cli.metadata.subjects import Thresholds, commonest_thresholds, read_lines
from msupply_dhis2.compute.mapped import export_mapping
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.source import Source

if TYPE_CHECKING:
    from cli.stack import Stack

_THRESHOLDS = sa.text(
    "SELECT p.months_understock, p.months_overstock FROM store_preference p JOIN store s ON s.id = p.id"
)


@dataclass(frozen=True)
class Login:
    """Where DHIS2 is, if not where the settings say, and the file with the login of whoever may change its metadata."""

    url: str | None = None
    file: Path | None = None

    @cached_property
    def _systems(self) -> Systems:
        # Of the systems only the login is used; it is asked for once.
        return Systems(Path(), "", self.url, self.file)

    def settings(self, settings: Settings) -> Settings:
        """Return the settings with the address that is given."""
        return settings if self.url is None else parse_settings(settings.compact(), url=self.url)

    def credentials(self, settings: Settings) -> Dhis2Credentials:
        """Read the login; without a file a terminal is asked."""
        return self._systems.credentials(settings)

    def client(self, settings: Settings) -> Dhis2Client:
        """Return a session with DHIS2."""
        settings = self.settings(settings)
        return Dhis2Client.of(settings, self.credentials(settings))


def plan_of_systems(systems: Systems, shape: Shape, login: Login, *, access: bool, update: bool) -> Plan:
    """Plan from an mSupply database, by the settings that the shape needs."""
    settings = settings_for(systems.settings(), shape)
    lines: list[Mapping[str, object]] = []
    export_mapping(lambda: systems.open_database(settings), settings, lines.append)
    with systems.open_database(settings) as source:
        thresholds = read_thresholds(source)
    brief = Brief(read_lines(lines, settings, thresholds), settings, shape, access)
    return _compared(brief, login, update=update)


def plan_of_stack(stack: "Stack", shape: Shape, login: Login, *, access: bool, update: bool) -> Plan:
    """Plan from what a deployed stack reads of mSupply by its own settings."""
    given = parse_settings(stack.settings_document(), url=login.url)
    file = stack.push({"export": "mapping"}).file
    brief = brief_of_lines(stack.lines_of_file(str(file)), given, shape, access=access)
    return _compared(brief, login, update=update)


def brief_of_lines(
    lines: Iterable[Mapping[str, Any]], given: Settings, shape: Shape, *, access: bool
) -> Brief:
    """Return what is to be made from an export of the mapping, which was made with the given settings."""
    return Brief(read_lines(lines, given), settings_for(given, shape), shape, access)


def _compared(brief: Brief, login: Login, *, update: bool) -> Plan:
    """Compare with DHIS2 where a login is given."""
    with nullcontext() if login.file is None else login.client(brief.settings) as client:
        return make_plan(brief, client, update=update)


def read_thresholds(source: Source) -> Thresholds:
    """Read the months of stock that mSupply's stores take for too little and too much; its defaults where it has none."""
    inspected = sa.inspect(source.connection)
    if not {"store_preference", "store"} <= set(inspected.get_table_names()):
        return Thresholds()
    columns = {each["name"] for each in inspected.get_columns("store_preference")}
    if not {"months_understock", "months_overstock"} <= columns:
        return Thresholds()
    return commonest_thresholds([(low, high) for low, high in source.connection.execute(_THRESHOLDS)])
