"""The three jobs in one process, without AWS: ``python -m cli preview|push|test-connection``."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from functools import cache
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from cli.output import Format, write_record, write_rows
from cli.report import as_text
from msupply_dhis2.compute.event import BasisChoice, ComputeEvent, instant_of_run, parse_compute_event
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.mapped import check_database
from msupply_dhis2.compute.publish import OrgUnitValues
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.domain.mapped import DatabaseAnswer
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    MsupplyDhis2Error,
    SettingsError,
)
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.preflight.job import test_connection
from msupply_dhis2.push.job import push
from msupply_dhis2.push.session import Dhis2Session
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import (
    DatabaseAddress,
    Dhis2Credentials,
    parse_database_address,
    parse_dhis2_credentials,
)
from msupply_dhis2.source import Source, open_source, verification_of

if TYPE_CHECKING:
    from msupply_dhis2.domain.data_value import DataValue

PREVIEW_COLUMNS = (
    "org_unit",
    "store",
    "item",
    "metric",
    "data_element",
    "category_option_combo",
    "attribute_option_combo",
    "period",
    "value",
)
ATTEMPTS = 5
"""Fewer than push has on AWS: somebody waits for the end."""


class OptionError(MsupplyDhis2Error):
    """An option of the command cannot be used."""


_messages = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        0 where everything went well: for push every value stored or unchanged, for
        test-connection every check.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(_Job(options))
    except MsupplyDhis2Error as error:
        _messages.print(str(error), style="red")
        return 1
    except KeyboardInterrupt:
        _messages.print("Interrupted.", style="red")
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cli", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="preview|push|test-connection")
    for name, command, what in (
        ("preview", _preview, "compute every value of all active rows and print it; nothing is sent"),
        ("push", _push, "compute and send, and print what became of the values"),
        ("test-connection", _test_connection, "log in to DHIS2, and look whether everything needed is there"),
    ):
        sub = commands.add_parser(name, help=what, description=what)
        sub.set_defaults(command=command)
        sub.add_argument("--settings", required=True, type=Path, metavar="FILE", help="the settings document")
        sub.add_argument(
            "--source",
            required=True,
            metavar="URL",
            help="mSupply's database: sqlite:///FILE or postgresql://…",
        )
        sub.add_argument("--dhis2-url", metavar="URL", help="instead of the settings' URL")
        sub.add_argument(
            "--credentials", type=Path, metavar="FILE", help="JSON as in the secret; else it is asked"
        )
        sub.add_argument(
            "--timezone", default="UTC", metavar="NAME", help="such as Pacific/Auckland; default UTC"
        )
        sub.add_argument(
            "--as-of", metavar="TIME", help="a date or a date and time in that time zone; default now"
        )
        sub.add_argument("--basis", choices=[choice.value for choice in BasisChoice], help="for all rows")
        sub.add_argument(
            "--months",
            metavar="MONTHS",
            help="months that are over, such as 2025-01..2025-12, instead of today",
        )
        sub.add_argument(
            "--event", metavar="JSON", help='an event to compute, such as {"interval": "monthly"}'
        )
        sub.add_argument("--format", type=Format, choices=list(Format), default=Format.TABLE)
        sub.add_argument(
            "--json",
            dest="format",
            action="store_const",
            const=Format.JSON,
            help="the same as --format json",
        )
    return parser


class _Job:
    """What the options of a command name, read when it is needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.form: Format = options.format
        self.calendar = Calendar(parse_time_zone(options.timezone))

    def settings(self) -> Settings:
        return parse_settings(_text_of(self._options.settings, "--settings"), url=self._options.dhis2_url)

    def event(self, default_basis: BasisChoice) -> ComputeEvent:
        try:
            event = {"manual": True} if self._options.event is None else json.loads(self._options.event)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"--event is not JSON: {error}.") from error
        if isinstance(event, dict):
            if self._options.basis:
                event["basis"] = self._options.basis
            elif self._options.event is None and self._options.months is None:
                event["basis"] = default_basis.value
            if self._options.as_of is not None:
                event["as_of"] = self._options.as_of
            if self._options.months is not None:
                event["months"] = self._options.months
        asked = parse_compute_event(event)
        if asked.check_database:
            raise OptionError(
                "--event: check_database is for the stack; here test-connection asks the database."
            )
        return asked

    def as_of(self, event: ComputeEvent) -> datetime:
        return instant_of_run(event, datetime.now(UTC), self.calendar)

    def credentials(self, settings: Settings) -> Dhis2Credentials:
        file: Path | None = self._options.credentials
        if file is not None:
            return parse_dhis2_credentials(_text_of(file, "--credentials"), settings)
        if not sys.stdin.isatty():
            raise OptionError("--credentials FILE is needed where nobody can be asked for them.")
        _messages.print("DHIS2 user name: ", end="")
        answers = {"username": input(), "password": getpass("DHIS2 password: ")}
        return parse_dhis2_credentials(json.dumps(answers), settings)

    def database(self, settings: Settings | None) -> tuple[DatabaseAddress, DatabaseTrust]:
        address = parse_database_address(self._options.source)
        return address, settings.database_trust if settings else DatabaseTrust()

    def open_database(self, settings: Settings | None) -> AbstractContextManager[Source]:
        address, trust = self.database(settings)
        return open_source(address, calendar=self.calendar, trust=trust)


def _text_of(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{option}: {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{option}: {file} is not a text file in UTF-8.") from error


def _preview(job: _Job) -> int:
    settings = job.settings()
    event = job.event(default_basis=BasisChoice.AS_IN_SETTINGS).model_copy(update={"dry_run": True})
    values: list[DataValue] = []

    result = _computed(job, event, settings, keep=lambda computed: values.extend(computed.values))
    write_rows(
        PREVIEW_COLUMNS, ([getattr(value, name) for name in PREVIEW_COLUMNS] for value in values), job.form
    )
    _messages.print(result.message)
    return 0


def _computed(
    job: _Job,
    event: ComputeEvent,
    settings: Settings,
    *,
    send: Callable[[Batch], None] | None = None,
    keep: Callable[[OrgUnitValues], None] = lambda _: None,
) -> ComputeResult:
    with Progress(console=_messages, transient=True) as progress:
        bar = progress.add_task("Org units", total=None)

        def watch(computed: OrgUnitValues, org_units: int) -> None:
            progress.update(bar, advance=1, total=org_units)
            keep(computed)

        result = ComputeJob(
            settings=settings,
            calendar=job.calendar,
            open_database=lambda: job.open_database(settings),
            send=send,
            watch=watch,
        ).run(whole_run(event, job.as_of(event)))
    for title, notes in (("Left out", result.left_out), ("To note", result.warnings)):
        if notes:
            _messages.print(f"{title}:", style="yellow")
        for note in notes:
            _messages.print(f"  - {note}", style="yellow")
    return result


def _push(job: _Job) -> int:
    settings = job.settings()
    event = job.event(default_basis=BasisChoice.CURRENT_DAY)
    total = Counts()
    given_up = 0
    refused = False
    with ExitStack() as opened:

        @cache
        def session() -> Dhis2Session:
            # Asked for only when there is something to send.
            client = Dhis2Client.of(settings, job.credentials(settings))
            return Dhis2Session(opened.enter_context(client))

        def send(batch: Batch) -> None:
            nonlocal total, given_up, refused
            counts = Counts()
            if not refused:
                counts, failure = _push_with_patience(batch, session(), settings)
                # Once: to try the same login for each batch could lock the account.
                refused = isinstance(failure, Dhis2AuthenticationError)
            total += counts
            given_up += len(batch.rows) - counts.sent

        try:
            result = _computed(job, event, settings, send=send)
        except (MsupplyDhis2Error, KeyboardInterrupt):
            _messages.print(f"Up to here: {total.sentence()}, {given_up:,} given up.", style="yellow")
            raise
    _write_counts(result, total, given_up, job.form)
    well = result.status is not Status.SENT or result.values == total.stored + total.unchanged
    return 0 if well else 1


def _push_with_patience(
    batch: Batch, session: Dhis2Session, settings: Settings
) -> tuple[Counts, MsupplyDhis2Error | None]:
    """Push a batch as often as it helps; what is not among the counts was given up, and why comes with them."""
    counts, done = Counts(), frozenset[int]()
    for attempt in range(1, ATTEMPTS + 1):
        result = push(batch, session, settings=settings, done=done)
        counts, done = counts + result.counts, result.settled
        for line in result.lines:
            _messages.print(line.message, style="yellow" if line.level > logging.INFO else "")
        if result.failure is None:
            break
        if isinstance(result.failure, Dhis2AuthenticationError):
            _messages.print(str(result.failure), style="red")
            break
        _messages.print(f"Attempt {attempt} of {ATTEMPTS}: {result.failure}", style="yellow")
        if attempt < ATTEMPTS:
            time.sleep(result.failure.retry_after or 2**attempt)
    return counts, result.failure


def _write_counts(result: ComputeResult, total: Counts, given_up: int, form: Format) -> None:
    counts = {
        "run_id": result.run_id,
        "as_of": result.as_of.isoformat() if result.as_of else None,
        "stores": result.stores,
        "items": result.items,
        "values": result.values,
        "batches": result.batches,
        "sent": total.sent,
        "stored": total.stored,
        "unchanged": total.unchanged,
        "rejected": total.rejected,
        "unaccounted": total.unaccounted,
        "given_up": given_up,
    }
    _messages.print(result.message if result.status is not Status.SENT else f"{total.sentence()}.")
    write_record(counts, form)


def _test_connection(job: _Job) -> int:
    def database() -> DatabaseAnswer:
        try:
            settings = job.settings()
        except SettingsError:
            # Told by the test itself; here they must not hide the database's own fault.
            settings = None
        address, trust = job.database(settings)
        result = check_database(
            lambda: job.open_database(settings), settings, verification_of(address, trust)
        )
        return DatabaseAnswer(message=result.message, mapped=result.mapped)

    report = test_connection(
        settings_reader=job.settings,
        credentials_reader=job.credentials,
        client_factory=Dhis2Client.of,
        database_check=database,
        table=None,
        calendar=job.calendar,
        clock=lambda: datetime.now(UTC),
        as_of=job.as_of(job.event(default_basis=BasisChoice.AS_IN_SETTINGS)),
        time_limit=None,
    )
    if job.form is Format.JSON:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    elif job.form is Format.CSV:
        columns = ("name", "ok", "message", "details")
        rows = ((check.name, check.ok, check.message, "\n".join(check.details)) for check in report.checks)
        write_rows(columns, rows, job.form)
    else:
        sys.stdout.write(as_text(report, colour=sys.stdout.isatty()) + "\n")
    return 0 if report.all_well else 1


if __name__ == "__main__":
    sys.exit(main())
