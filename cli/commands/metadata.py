"""``metadata plan`` and ``metadata apply``: DHIS2 set up from mSupply."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.commands.stack import ask_stack
from cli.options import for_systems, names_stack

if TYPE_CHECKING:
    from cli.metadata.objects import Brief
    from cli.metadata.plan import Plan

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path)
_OWN_LOGIN = ("dhis2_url", "credentials")

with_access = click.option(
    "--access",
    is_flag=True,
    help="Also a role and two groups: those who push may write, those who look may read, nobody else sees anything.",
)
with_update = click.option(
    "--update", is_flag=True, help="Change what is there with other properties. Without it that stays."
)


@click.group(short_help="Set DHIS2 up from mSupply's items and stores.", no_args_is_help=True)
def metadata() -> None:
    """Make data elements, data set, indicators and a dashboard in DHIS2, from mSupply's items and stores and the settings."""


@metadata.command(short_help="Write what is to be made: files, and a page that tells it.")
@for_systems
@click.option("--out", required=True, type=_FOLDER, metavar="FOLDER", help="The folder for the files.")
@click.option(
    "--shape",
    type=click.Choice(["items", "combos"]),
    default="items",
    show_default=True,
    help="A data element for each item and metric, or for each item with the metric as category option combo.",
)
@click.option(
    "--code-prefix",
    default="MSUPPLY_",
    show_default=True,
    metavar="TEXT",
    help="What the codes begin with; another one for a second data set in the same DHIS2.",
)
@with_access
@with_update
def plan(
    *,
    out: Path,
    shape: str,
    code_prefix: str,
    access: bool,
    update: bool,
    stack: str | None,
    **named: Any,  # noqa: ANN401 - as click hands them over
) -> int:
    """Write what is to be made in DHIS2 into a folder: JSON files in the order of their import, and plan.html, which tells it.

    Nothing is changed. With --credentials DHIS2 is asked what it has already; with --stack the stack reads mSupply, and
    the login is still yours.
    """
    from cli import local
    from cli.metadata import files, make
    from cli.metadata.names import checked_prefix
    from cli.metadata.shape import Shape

    # Of a stack, too, whoever may change DHIS2's metadata logs in, and not the user that pushes.
    of_systems = {name: None if stack and name in _OWN_LOGIN else value for name, value in named.items()}

    prefix = checked_prefix(code_prefix)
    login = local.Systems(Path(), "", named["dhis2_url"], named["credentials"])
    asked = None if login.credentials_file is None else login

    def write(brief: "Brief") -> int:
        made = make.compared(brief, asked, update=update)
        files.write(made, out)
        return _tell(made, out)

    if names_stack(stack, of_systems):
        url = login.dhis2_url
        return ask_stack(
            str(stack),
            lambda stack: write(make.brief_of_stack(stack, url, Shape(shape), access=access, prefix=prefix)),
        )
    with local.told_by_options():
        return write(
            make.brief_of_systems(local.systems_of(named), Shape(shape), access=access, prefix=prefix)
        )


def _tell(made: "Plan", out: Path) -> int:
    from cli.output import say

    _tell_plan(made)
    say(f"Read {out / 'plan.html'}. Then: msupply-dhis2 metadata apply {out}")
    return 0


def _tell_plan(made: "Plan") -> None:
    """Tell what is wanted, what does not fit, and how it stands to what is there."""
    import logging

    from cli.output import say, tell
    from msupply_dhis2.text import MOST_NAMED

    say(made.total())
    for problem in made.problems[:MOST_NAMED]:
        tell(problem, logging.WARNING)
    if (more := len(made.problems) - MOST_NAMED) > 0:
        tell(f"And {more:,} more of what does not fit. plan.html names all.", logging.WARNING)
    if made.facts is None:
        tell(made.said, logging.WARNING)
    else:
        say(made.said)
    for sentence in made.about_charts():
        tell(sentence)


@metadata.command(short_help="Import a plan into DHIS2.")
@click.argument("folder", type=_FOLDER, metavar="FOLDER")
@click.option("--dhis2-url", metavar="URL", help="The address of DHIS2, instead of that of the plan.")
@click.option(
    "--credentials",
    type=_FILE,
    metavar="FILE",
    help='The login of an administrator of DHIS2: JSON such as {"username": "…", "password": "…"}. Without it the command asks.',
)
@click.option("--yes", is_flag=True, help="Do not ask for the name of the server.")
@with_access
@with_update
@click.option(
    "--server-settings",
    multiple=True,
    type=click.Choice(["zeros", "periods"]),
    help="Also change a setting of the whole server: zeros in analytics, or the output period types (2.43). Once for each.",
)
@click.option(
    "--as-of", metavar="TIME", help="Test the connection as of this date, or date and time, instead of now."
)
def apply(  # noqa: PLR0913 - what is asked for
    *,
    folder: Path,
    dhis2_url: str | None,
    credentials: Path | None,
    yes: bool,
    access: bool,
    update: bool,
    server_settings: tuple[str, ...],
    as_of: str | None,
) -> int:
    """Import the plan in FOLDER into DHIS2, read it back, and test the connection. Nothing is deleted.

    DHIS2 looks at it first. The command then asks for the server's name. If it broke off, run the same command again.
    """
    from cli import local
    from cli.metadata import applying, files
    from cli.output import say, tell
    from cli.report import as_text

    brief = files.read(folder, url=dhis2_url)

    def confirm(planned: "Plan") -> None:
        _tell_plan(planned)
        if not yes:
            name = applying.name_of(brief.settings)
            typed = click.prompt(f"This changes {name}. Type that name to go on", err=True)
            applying.insist_on_name(name, typed)

    login = local.Systems(Path(), "", dhis2_url, credentials)
    chosen = frozenset(map(applying.ServerSetting, server_settings))
    with local.told_by_options():
        event = login.event({"manual": True, **({} if as_of is None else {"as_of": as_of})})
        asked = applying.Asked(access, update, chosen, login.as_of(event))
        done = applying.set_up(brief, login, asked, confirm, tell)
    files.write_undo(done.plan, folder)
    say(done.said, as_text(done.report, colour=False))
    return 0 if done.report.all_well else 1
