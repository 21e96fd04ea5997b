"""``settings check``, ``settings upload``, ``settings schema``."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.options import STACK
from msupply_dhis2.errors import SettingsError

of_file = click.argument(
    "file", type=click.Path(path_type=Path), default=Path("settings.yaml"), metavar="[FILE]"
)


@click.group(short_help="Check the settings document, and upload it.", no_args_is_help=True)
def settings() -> None:
    """Check the settings document, and upload it to a stack. Without FILE it is settings.yaml."""


@settings.command()
@of_file
def check(file: Path) -> int:
    """List all faults of the settings at once."""
    from cli import settings
    from cli.output import say

    with _faults_of(file):
        say(*settings.check(file).lines())
    return 0


@settings.command()
@of_file
@click.option("--parameter", metavar="NAME", help="The name of the parameter, instead of a stack.")
@click.option("--stack", metavar="NAME", help=f"The stack that gets the settings. Default: {STACK}.")
def upload(file: Path, parameter: str | None, stack: str | None) -> int:
    """Check the settings and write them into the stack's parameter. The next run uses them."""
    from cli import settings
    from cli.output import say

    if parameter and stack:
        raise click.UsageError("Give --parameter or --stack, not both.")
    with _faults_of(file):
        checked = settings.check(file)
        say(*checked.lines())
        say(*settings.upload(checked, parameter or f"/{stack or STACK}/settings").lines())
    return 0


@settings.command()
def schema() -> int:
    """Print the JSON Schema of the settings, for editors."""
    from cli import settings
    from cli.output import say

    say(settings.schema_text().removesuffix("\n"))
    return 0


@contextmanager
def _faults_of(file: Path) -> Iterator[None]:
    """List the faults of a settings document under its name."""
    from cli.output import tell
    from msupply_dhis2.text import count

    try:
        yield
    except SettingsError as error:
        faults = "\n".join(f"  - {fault}" for fault in error.faults)
        tell(f"{file} has {count(len(error.faults), 'fault')}:\n{faults}", logging.ERROR)
        raise click.exceptions.Exit(1) from error
