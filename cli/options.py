"""The options that several commands share. ``--help`` loads this module, so it imports nothing that takes time."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msupply_dhis2.errors import MsupplyDhis2Error

if TYPE_CHECKING:
    from cli.local import Systems

STACK = "msupply-dhis2"
"""The name that the stack has where no other is given."""

BASES = ("current_day", "as_in_settings", "previous_month")


class OptionError(MsupplyDhis2Error):
    """An option of the command cannot be used."""


def not_utf8(file: Path, error: UnicodeDecodeError) -> str:
    """Say which line of a file is not text in UTF-8, and what to do."""
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"{file} is not text in UTF-8: line {line} has the byte 0x{error.object[error.start]:02X}. Save it as UTF-8."


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


_FILE = click.Path(path_type=Path)
in_form = click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default=Format.TABLE.value,
    show_default=True,
    help="The form of the result on standard output.",
)

_SYSTEMS = (
    click.option("--settings", type=_FILE, metavar="FILE", help="The settings document."),
    click.option(
        "--source", metavar="URL", help="mSupply's database: sqlite:///FILE or postgresql://USER@HOST/NAME."
    ),
    click.option(
        "--dhis2-url", metavar="URL", help="The address of DHIS2, instead of the URL in the settings."
    ),
    click.option(
        "--credentials",
        type=_FILE,
        metavar="FILE",
        help='The login of DHIS2: JSON such as {"username": "…", "password": "…"}. Without it the command asks.',
    ),
    click.option(
        "--timezone", metavar="NAME", help="Your time zone, such as Pacific/Auckland. Default: UTC."
    ),
    click.option(
        "--stack",
        metavar="NAME",
        help="Ask this deployed stack. It has its own settings, database and DHIS2.",
    ),
)
_AS_OF = (
    click.option(
        "--as-of",
        metavar="TIME",
        help="Compute as of this date, or date and time, in that time zone, instead of now.",
    ),
)
_HOW_PRINTED = (
    in_form,
    click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
)
_RUN_OPTIONS = (
    *_SYSTEMS,
    *_AS_OF,
    click.option(
        "--basis",
        type=click.Choice(BASES),
        help="The basis of all rows. Default: current_day. as_in_settings takes each row on its own basis.",
    ),
    click.option(
        "--as-scheduled",
        is_flag=True,
        help="Take each row on its own basis, as the schedules do. The same as --basis as_in_settings.",
    ),
    click.option(
        "--months", metavar="MONTHS", help="Compute months that are over, such as 2025-01..2025-12."
    ),
    click.option("--event", metavar="JSON", help='Compute this event, such as {"interval": "monthly"}.'),
    *_HOW_PRINTED,
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of ``preview``, ``push``, ``test-connection`` and ``explain``, as they are given."""

    settings: Path | None
    source: str | None
    dhis2_url: str | None
    credentials: Path | None
    timezone: str | None
    stack: str | None
    as_of: str | None
    form: Format
    basis: str | None = None
    months: str | None = None
    event: str | None = None

    @property
    def asks_for_something(self) -> bool:
        """Whether an option says what is to be computed."""
        return any(option is not None for option in (self.as_of, self.basis, self.months, self.event))

    def document(self) -> Mapping[str, object]:
        """Return the event that compute is asked, in which the other options replace what ``--event`` says.

        Raises
        ------
        OptionError
            ``--event`` is no JSON object.
        """
        example = "For example --event '{\"manual\": true}'; with make EVENT='{\"manual\": true}'."
        try:
            event = {"manual": True} if self.event is None else json.loads(self.event)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"--event is not JSON: {error}. {example}") from error
        if not isinstance(event, dict):
            raise OptionError(f"--event is not a JSON object. {example}")
        said = {"basis": self.basis, "months": self.months, "as_of": self.as_of}
        return {**event, **{name: value for name, value in said.items() if value is not None}}

    def systems(self) -> "Systems | None":
        """Return the systems that are named for this machine; ``None`` for a deployed stack.

        Raises
        ------
        click.UsageError
            The options name both, or too little.
        """
        named = {name: getattr(self, name) for name in _NAMES_OF_SYSTEMS}
        if names_stack(self.stack, named):
            return None
        # It loads SQL and HTTP, which --help does without.
        from cli.local import systems_of  # noqa: PLC0415

        return systems_of(named)


_NAMES_OF_SYSTEMS = ("settings", "source", "dhis2_url", "credentials", "timezone")


def names_stack(stack: str | None, named: Mapping[str, object]) -> bool:
    """Return whether the options are about a deployed stack, and not about systems that they name.

    Raises
    ------
    click.UsageError
        They name both, or too little.
    """
    if stack is not None:
        if given := [f"--{name.replace('_', '-')}" for name, value in named.items() if value is not None]:
            raise click.UsageError(
                f"Give {', '.join(given)} or --stack, not both. A stack has its own settings, database, DHIS2 and time zone."
            )
        return True
    if missing := " and ".join(f"--{name}" for name in ("settings", "source") if named[name] is None):
        raise click.UsageError(f"Give {missing}, or name a deployed stack, such as --stack {STACK}.")
    return False


def for_a_run(command: Callable[[RunOptions], int]) -> Callable[..., int]:
    """Hand a command the options of ``preview``, ``push`` and ``test-connection``."""

    @wraps(command)
    def with_options(*, form: str, as_json: bool, as_scheduled: bool, **given: Any) -> int:  # noqa: ANN401 - as click hands them over
        if as_scheduled and given["basis"] not in {None, "as_in_settings"}:
            raise click.UsageError("Give --basis or --as-scheduled, not both.")
        given["basis"] = "as_in_settings" if as_scheduled else given["basis"]
        return command(RunOptions(form=Format.JSON if as_json else Format(form), **given))

    return _with_options(with_options, _RUN_OPTIONS)


def for_a_value(command: Callable[..., int]) -> Callable[..., int]:
    """Hand a command that asks about one value its systems, the instant and the form, and its own options as they are."""

    @wraps(command)
    def with_options(*, form: str, as_json: bool, **given: Any) -> int:  # noqa: ANN401 - as click hands them over
        names = [each.name for each in fields(RunOptions) if each.name in given]
        options = RunOptions(
            form=Format.JSON if as_json else Format(form), **{name: given.pop(name) for name in names}
        )
        return command(options, **given)

    return _with_options(with_options, (*_SYSTEMS, *_AS_OF, *_HOW_PRINTED))


def for_systems(command: Callable[..., int]) -> Callable[..., int]:
    """Hand a command the options that name systems, which :func:`names_stack` looks at."""
    return _with_options(command, _SYSTEMS)


def _with_options(
    command: Callable[..., int], options: Sequence[Callable[[Callable[..., int]], Callable[..., int]]]
) -> Callable[..., int]:
    for option in reversed(options):
        command = option(command)
    return command


of_stack = click.option(
    "--stack", metavar="NAME", default=STACK, show_default=True, help="The name of the stack."
)
