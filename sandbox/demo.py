"""``make demo``: the whole path, from mSupply's database to DHIS2, deployed and run on one's own machine.

Every step is the real thing but for what the emulator stands in for: what is shown as ``$ make …`` is that
command's own output. A step that fails ends the demo with a message and a non-zero exit code, and whatever
happens, everything that was started is stopped and removed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cli.local import Systems, test_connection, told_by_options
from cli.options import STACK
from cli.report import as_text
from cli.stack import LogRecord
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.domain.stock import Store
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source.base import Catalogue
from msupply_dhis2.text import count
from sandbox.charts import charts_of
from sandbox.dhis2 import ADMIN, StandIn
from sandbox.emulator import Emulator
from sandbox.sample_world import (
    DHIS2_USER,
    TIME_ZONE,
    add_pusher,
    catalogue_of,
    empty_metadata_for,
    mapped_customers,
    sample_database,
    settings_for,
    with_whole_numbers_only,
)
from sandbox.tools import PROJECT, ToolError

DRAINED_WITHIN = 300.0
# So long nothing may move in queue and log before an incomplete count is final.
SETTLED_AFTER = 10.0
NAMED_REJECTIONS = 3
REPORTING_CUSTOMER = "OP01"
DASHBOARD = "MSUPPLY_DASHBOARD"
OUTCOMES = ("stored", "unchanged", "rejected", "unaccounted")

console = Console(soft_wrap=True, highlight=False, emoji=False)


class DemoError(RuntimeError):
    """A step did not do what it should; the message says which and what it said."""


# ------------------------------------------------------------------------------------- telling what happens


class Story:
    """Tells the steps, one after the other."""

    def __init__(self) -> None:
        self._number = 0
        self._started = time.monotonic()

    def step(self, title: str) -> None:
        """Begin a step."""
        self._number += 1
        console.print(f"\n[bold cyan]{self._number}. {title}[/bold cyan]")

    def say(self, text: str) -> None:
        """Say something in plain words."""
        console.print(f"   {escape(text)}")

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Yield what is being done, for as long as it takes, and then how long it took."""
        started = time.monotonic()
        with console.status(text):
            yield
        console.print(f"   [green]ok[/green] {escape(text)} ({time.monotonic() - started:.1f} s)")

    def end(self) -> None:
        """Say that all went well."""
        console.print(f"\n[bold green]Done in {time.monotonic() - self._started:.0f} seconds.[/bold green]")


def command(
    emulator: Emulator,
    shown: str,
    *arguments: str,
    given: str | None = None,
    most: int | None = None,
    asks_stack: bool = True,
) -> int:
    """Run the project's command against the emulator, its output where ours goes.

    Parameters
    ----------
    shown
        The make command that an officer would type for it.
    given
        What is typed at its prompts, a line each; ``None`` leaves them to the terminal.
    most
        How many lines of its output are shown; ``None``: all.
    asks_stack
        Whether it is about the stack, and not only about DHIS2.
    """
    console.print(f"   [bold]$ {escape(shown)}[/bold]")
    sys.stdout.flush()
    finished = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "cli", *arguments, *(["--stack", emulator.name] if asks_stack else [])],
        cwd=PROJECT,
        env=emulator.environment,
        input=given,
        stdout=None if most is None else subprocess.PIPE,
        text=True,
        check=False,
    )
    if most is not None:
        lines = finished.stdout.splitlines()
        more = [f"(and {count(len(lines) - most, 'more line')})"] if len(lines) > most else []
        console.print("\n".join(map(escape, (*lines[:most], *more))))
    return finished.returncode


def must(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - what is asserted
    """End the demo unless the condition holds."""
    if not condition:
        raise DemoError(otherwise)


# ------------------------------------------------------------------- what became of the values, from the log


@dataclass(frozen=True, slots=True)
class Run:
    """What compute logged about a run: its id, and what it put on the queue."""

    id: str
    values: int
    batches: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What push logged about the batches of a run."""

    batches: tuple[LogRecord, ...]
    rejections: tuple[LogRecord, ...]

    @property
    def counts(self) -> Counts:
        """What became of all values that were sent."""
        total = Counts()
        for line in self.batches:
            total += Counts(**{name: line.fields[name] for name in OUTCOMES})
        return total

    @property
    def sent(self) -> int:
        """How many values the lines of the batches say were sent."""
        return sum(line.fields["sent"] for line in self.batches)


def latest_run(emulator: Emulator) -> Run:
    """Return the last run that compute logged."""
    for line in reversed(emulator.stack.logs("ComputeFunction")):
        if "values" in line.fields:
            return Run(line.fields["run_id"], line.fields["values"], line.fields["batches"])
    raise DemoError("Compute logged no run.")


def outcomes_of(emulator: Emulator, run: Run) -> Outcomes:
    """Return what push has logged about a run so far."""
    lines = [line for line in emulator.stack.logs("PushFunction") if line.fields.get("run_id") == run.id]
    return Outcomes(
        batches=tuple(line for line in lines if "sent" in line.fields),
        rejections=tuple(line for line in lines if "data_element" in line.fields),
    )


def wait_for_all(emulator: Emulator, run: Run, progress: Callable[[int], None] = lambda _: None) -> Outcomes:
    """Wait until the queue is empty and the log says what became of every value.

    Raises
    ------
    DemoError
        Batches went to the dead-letter queue, or the log stays short of the values.
    """
    deadline = time.monotonic() + DRAINED_WITHIN
    last_change, before = time.monotonic(), -1
    while True:
        outcomes = outcomes_of(emulator, run)
        sent = outcomes.counts.sent
        progress(sent)
        queue = emulator.stack.depth("BatchQueue")
        if sent >= run.values and queue.is_empty:
            return outcomes
        dead = emulator.stack.depth("FailedBatchQueue").waiting
        must(dead == 0, f"{dead} batches went to the dead-letter queue.{_what_push_said(emulator)}")
        now = time.monotonic()
        if sent != before:
            last_change, before = now, sent
        settled = queue.is_empty and now - last_change > SETTLED_AFTER
        must(
            not settled and now < deadline,
            f"The log tells of {sent:,} of {run.values:,} values; the queue holds {queue.waiting:,} batches."
            f"{_what_push_said(emulator)}",
        )
        time.sleep(0.3)


def _what_push_said(emulator: Emulator) -> str:
    said = [line.message for line in emulator.stack.logs("PushFunction")][-5:]
    return " Push logged last:\n" + "\n".join(f"  {message}" for message in said)


def show_outcomes(story: Story, outcomes: Outcomes) -> None:
    """Print what became of every value: each batch, and each rejected value with its reason."""
    table = Table("Batch", *(title.capitalize() for title in ("sent", *OUTCOMES)), title_justify="left")
    for line in outcomes.batches:
        cells = (f"{line.fields[name]:,}" for name in ("sent", *OUTCOMES))
        table.add_row(str(line.fields.get("batch_id", ""))[-12:], *cells)
    counts = outcomes.counts
    total = (counts.sent, counts.stored, counts.unchanged, counts.rejected, counts.unaccounted)
    table.add_section()
    table.add_row("All", *(f"{number:,}" for number in total), style="bold")
    console.print(table)
    if outcomes.rejections:
        story.say("The log has a line for each rejected value: item, store, metric, reason, and what to do:")
        for line in outcomes.rejections[:NAMED_REJECTIONS]:
            console.print(f"   [yellow]- {escape(line.message)}[/yellow]")
        if len(outcomes.rejections) > NAMED_REJECTIONS:
            story.say(f"- and {len(outcomes.rejections) - NAMED_REJECTIONS:,} more such lines")


def prove(run: Run, outcomes: Outcomes) -> None:
    """Hold the counts of compute and of push's log against each other.

    Raises
    ------
    DemoError
        A value is missing or counted twice.
    """
    counts = outcomes.counts
    must(run.values > 0, "Compute found no value to send.")
    # A batch that takes several deliveries has a line for each.
    reported = len({line.fields["batch_id"] for line in outcomes.batches})
    must(reported == run.batches, f"{run.batches} batches left, {reported} were reported.")
    must(outcomes.sent == run.values, f"{run.values} values left compute, {outcomes.sent} were sent.")
    must(counts.sent == outcomes.sent, f"{outcomes.sent} values were sent, {counts.sent} have an outcome.")
    must(
        len(outcomes.rejections) == counts.rejected,
        f"{counts.rejected} values were rejected, {len(outcomes.rejections)} have a line in the log.",
    )


# ------------------------------------------------------------------------------------------------ the demo


def deploy(story: Story, emulator: Emulator, time_zone: str) -> None:
    """Build the stack and deploy it onto the emulator."""
    story.step("The stack, built and deployed as it would be on AWS")
    with story.doing("sam build: the functions and the layer that they share"):
        emulator.build()
    with story.doing(
        "sam deploy: queue, schedules, secrets, table and IAM roles, onto a local emulator of AWS"
    ):
        # In one piece, however large the database is: the story is told by one answer of compute.
        emulator.deploy(Timezone=time_zone, LinesPerInvocation="1000000000")


def send(story: Story, emulator: Emulator, title: str, shown: str, *options: str) -> Run:
    """Push all active metrics."""
    story.step(title)
    must(command(emulator, shown, "push", *options) == 0, "The push failed; the lines above say why.")
    return latest_run(emulator)


def watch(story: Story, emulator: Emulator, run: Run) -> Outcomes:
    """Show how the queue is worked off, and what became of every value."""
    story.step("From the queue to DHIS2, and what became of every value")
    columns = (TextColumn("   values accounted for"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=run.values)
        outcomes = wait_for_all(emulator, run, lambda done: bar.update(task, completed=done))
    story.say(f"The queue is empty. The log /{emulator.name}/push says:")
    show_outcomes(story, outcomes)
    prove(run, outcomes)
    return outcomes


def on_sample(story: Story, *, stays: bool) -> None:
    """Show the whole path on a sample database and an empty stand-in for DHIS2, and then its console if it stays up."""
    with ExitStack() as held:
        story.step("A sample mSupply database, and an empty DHIS2")
        with story.doing("a PostgreSQL server with the tables of Open mSupply"):
            database = held.enter_context(sample_database())
        summary = database.summary
        story.say(
            f"{summary.stores} stores, {summary.items} items, {summary.movements:,} stock movements until "
            f"{summary.as_of}; encrypted connections only, and a login that can only read"
        )
        document = settings_for("http://127.0.0.1", database.server.ca_certificate, customers="requisitions")
        catalogue = catalogue_of(database.address, parse_settings(document))
        customers = mapped_customers(database.address, parse_settings(document))
        dhis2 = held.enter_context(StandIn(empty_metadata_for(catalogue, customers)))
        settings = parse_settings(document, url=dhis2.url)
        story.say(f"a stand-in for DHIS2 {dhis2.version} at {dhis2.url}: it has org units, and nothing else")

        emulator = held.enter_context(Emulator())
        deploy(story, emulator, TIME_ZONE)

        story.step("Settings and credentials, with the commands that an officer uses")
        _fill_in(held, emulator, database.address, settings)

        _set_dhis2_up(story, held, emulator, dhis2)
        slip = _slip(dhis2, catalogue, settings)
        story.say(
            f"Then somebody changes one data element: {slip} takes whole numbers only, so it rejects fractions."
        )

        _test_with_wrong_password(story, emulator, dhis2)

        event = json.dumps({"manual": True, "basis": "previous_month"})
        run = send(story, emulator, "A push of last month", f"make push EVENT='{event}'", "--event", event)
        outcomes = watch(story, emulator, run)

        story.step("Do the numbers add up?")
        _compare_with_dhis2(story, run, outcomes, dhis2)
        _show_values(story, dhis2, settings)

        _show_a_customer(story, dhis2, customers, settings)
        _show_charts(story, dhis2)
        if stays:
            _stay_up(story, emulator)

        story.step("Cleaning up")
        with story.doing("sam delete"):
            emulator.delete()
        with story.doing("the emulator, PostgreSQL and the stand-in are stopped, their files removed"):
            held.close()


def _stay_up(story: Story, emulator: Emulator) -> None:
    """Open the console on the stack, as an officer who has the two policies of its outputs, until Ctrl-C."""
    story.step("The console, until Ctrl-C")
    story.say("Open the address in your browser. It works once.")
    sys.stdout.flush()
    console_of_stack = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "cli", "console", "--stack", emulator.name, "--no-browser"],
        cwd=PROJECT,
        env=emulator.officer("officer", "Viewer", "Operator"),
    )
    try:
        must(console_of_stack.wait() == 0, "The console did not stay up; it says why above.")
    except KeyboardInterrupt:
        # Ctrl-C reaches the console, too, where both are in the foreground of a terminal.
        console_of_stack.terminate()
        console_of_stack.wait()


def _set_dhis2_up(story: Story, held: ExitStack, emulator: Emulator, dhis2: StandIn) -> None:
    """Make all that DHIS2 needs by the command, and the user that pushes as an administrator does."""
    story.step("DHIS2, set up from mSupply's items and stores")
    login = emulator.scratch / "administrator.json"
    password = ADMIN.password.get_secret_value()
    login.write_text(json.dumps({"username": ADMIN.username, "password": password}), encoding="utf-8")
    held.callback(login.unlink, missing_ok=True)
    folder = emulator.scratch / "dhis2-plan"
    held.callback(shutil.rmtree, folder, ignore_errors=True)
    options = ["--access", "--credentials", str(login)]
    planned = command(
        emulator, "make metadata-plan ACCESS=yes", "metadata", "plan", "--out", str(folder), *options, most=2
    )
    must(planned == 0, "There is no plan; the lines above say why.")
    shown = "make metadata-apply ACCESS=yes SERVER_SETTINGS=zeros YES=1"
    options += ["--yes", "--server-settings", "zeros"]
    applied = command(emulator, shown, "metadata", "apply", str(folder), *options, asks_stack=False, most=2)
    must(applied == 0, "DHIS2 was not set up; the lines above say why.")
    add_pusher(dhis2)
    story.say(
        f"An administrator makes the user {DHIS2_USER}, with the role and in the group that are there now."
    )


def _slip(dhis2: StandIn, catalogue: Catalogue, settings: Settings) -> str:
    """Make one fault of the kind that happens, so that there is something to be rejected; name its data element."""
    # The numbers in the sample's codes begin with the items that every clinic handles.
    item = min(catalogue.items, key=lambda item: item.code[-4:])
    row = next(row for row in settings.active_rows if row.metric is Metric.AVERAGE_MONTHLY_CONSUMPTION)
    code = f"{row.prefix}{item.fields[str(row.custom_field_name)]}"
    dhis2.metadata = with_whole_numbers_only(dhis2.metadata, code)
    element = dhis2.metadata.data_element.by_scheme("CODE", code)
    return element.name if element else code


def _fill_in(held: ExitStack, emulator: Emulator, address: str, settings: Settings) -> None:
    file = emulator.scratch / "settings.yaml"
    file.write_text(settings.compact(), encoding="utf-8")
    held.callback(file.unlink, missing_ok=True)
    uploaded = command(emulator, "make settings", "settings", "upload", str(file))
    must(uploaded == 0, "The settings were refused; the lines above say why.")
    _enter(emulator, "make credentials", DHIS2_USER, "a-mistyped-password", address)


def _enter(emulator: Emulator, shown: str, *answers: str) -> None:
    which = () if len(answers) > 2 else ("--dhis2",)  # noqa: PLR2004 - user name and password
    written = command(emulator, shown, "credentials", *which, given="".join(f"{a}\n" for a in answers))
    must(written == 0, "The credentials were refused; the lines above say why.")


def _test_with_wrong_password(story: Story, emulator: Emulator, dhis2: StandIn) -> None:
    story.step("Test connection, with a mistyped password and with the right one")
    test = ("make test-connection", "test-connection")
    must(command(emulator, *test) == 1, "The connection test did not find the mistyped password.")
    user = dhis2.users[DHIS2_USER]
    _enter(emulator, "make credentials", user.username, user.password.get_secret_value())
    must(command(emulator, *test) == 1, "The connection test did not find the fault in DHIS2.")
    story.say(
        "The connection works. The test found the fault before anything was sent. The demo leaves it there, to show a rejection."
    )


def _compare_with_dhis2(story: Story, run: Run, outcomes: Outcomes, dhis2: StandIn) -> None:
    counts = outcomes.counts
    stored = len(dhis2.values)
    must(
        stored == counts.stored, f"The log tells of {counts.stored:,} stored values, DHIS2 holds {stored:,}."
    )
    posted = sum(request.values for request in dhis2.requests)
    beforehand = sum(not line.fields["sent_to_dhis2"] for line in outcomes.rejections)
    must(
        posted + beforehand == run.values,
        f"{run.values:,} values left compute, {posted:,} arrived at DHIS2, {beforehand:,} were refused before that.",
    )
    story.say(f"compute put on the queue    {run.values:>6,} values in {run.batches} batches")
    story.say(f"push took from it           {counts.sent:>6,}")
    story.say(
        f"  stored {counts.stored:,} + unchanged {counts.unchanged:,} + rejected {counts.rejected:,} "
        f"+ unaccounted {counts.unaccounted:,} = {counts.sent:,}"
    )
    story.say(
        f"DHIS2 received              {posted:>6,}; push did not send the other {beforehand:,}, because DHIS2 would refuse them"
    )
    story.say(f"DHIS2 holds                 {stored:>6,} = stored")


def _show_a_customer(story: Story, dhis2: StandIn, customers: Sequence[Store], settings: Settings) -> None:
    """Show what one customer has reported about the month before."""
    customer = next(each for each in customers if each.code == REPORTING_CUSTOMER)
    story.step("A health centre without mSupply")
    story.say(
        f"{customer.name} holds no stock in mSupply. Its supplier types in its monthly form. The setting customers: "
        "requisitions sends what it says."
    )
    _show_values(story, dhis2, settings, customer.org_unit)


def _show_values(story: Story, dhis2: StandIn, settings: Settings, only: str | None = None) -> None:
    """Print the values of one item in one org unit (whose code may be given) as DHIS2 has them now."""
    index = dhis2.metadata
    metrics = {row.prefix: row.metric for row in settings.active_rows}
    found: dict[tuple[str, str], list[tuple[str, Metric | None, str, str]]] = defaultdict(list)
    for key, value in dhis2.values.items():
        unit, element = index.org_unit.by_id(key.org_unit), index.data_element.by_id(key.data_element)
        must(
            element is not None and unit is not None,
            "DHIS2 holds a value of something that it does not know.",
        )
        if element is not None and unit is not None and only in (None, unit.code):
            prefix, _, item = str(element.code).partition("_")
            cell = (unit.name, item)
            found[cell].append(
                (element.name.partition(" - ")[2], metrics.get(f"{prefix}_"), value, key.period)
            )
    (unit_name, _), values = max(found.items(), key=lambda cell: (len(cell[1]), cell[0]))
    story.say(f"In DHIS2 now, for {values[0][0]} in {unit_name}:")
    table = Table("Period", "Metric", "Value")
    for metric in Metric:
        for _, of_metric, value, period in values:
            if of_metric is metric:
                table.add_row(period, metric.label, value)
    console.print(table)


def _show_charts(story: Story, dhis2: StandIn) -> None:
    """Build DHIS2's analytics tables and print what the dashboard shows by district."""
    story.step("What the dashboard shows")
    login = (ADMIN.username, ADMIN.password.get_secret_value())
    requests.post(f"{dhis2.url}/api/resourceTables/analytics", auth=login, timeout=60).raise_for_status()
    names = {unit.id: unit.name for unit in dhis2.metadata.org_units}
    for chart in charts_of(dhis2, ADMIN, DASHBOARD):
        if chart.dimensions == ["dx", "ou", "value"] and len({row[0] for row in chart.rows}) == 1:
            shown = ", ".join(f"{names[row[1]]} {row[2]}" for row in chart.rows)
            story.say(f"{chart.name}: {shown}")


def on_own_systems(story: Story, options: argparse.Namespace) -> None:
    """Run the whole path, deployed onto the emulator, on a database and a DHIS2 of one's own."""
    address = parse_database_address(options.source)
    source = options.source
    if address.host is None:
        # The functions run in a folder of their own.
        source = f"sqlite:///{Path(address.database).resolve()}"
    systems = Systems(options.settings, source, options.dhis2_url, options.credentials, options.timezone)
    settings = _look_at(story, systems)
    story.say(f"From {address.described} to {settings.url}, in the time zone {options.timezone}.")
    with ExitStack() as held:
        emulator = held.enter_context(Emulator())
        deploy(story, emulator, options.timezone)

        story.step("Settings and credentials")
        emulator.put_settings(settings.compact())
        emulator.put_secret("Dhis2Secret", systems.login[0])
        emulator.put_secret("DatabaseSecret", source)
        story.say("Only the emulator has them. They are gone when it stops.")

        story.step("Test connection")
        tested = command(emulator, "make test-connection", "test-connection")
        must(tested == 0, "The connection test failed; the lines above say why.")

        story.step("A dry run: everything is computed, nothing is sent")
        event = json.dumps({"manual": True, "dry_run": True})
        shown = f"make push AS_SCHEDULED=yes EVENT='{event}'"
        tried = command(emulator, shown, "push", "--as-scheduled", "--event", event)
        must(tried == 0, "The dry run failed; the lines above say why.")
        if not settings.use_dhis2:
            story.say("Use DHIS2 is off in the settings, so nothing is sent. The demo ends here.")
        elif not options.yes and not _agrees(settings):
            story.say("Nothing was sent.")
        else:
            shown = "make push AS_SCHEDULED=yes"
            watch(story, emulator, send(story, emulator, "A push, as scheduled", shown, "--as-scheduled"))
        with story.doing("cleaning up"):
            held.close()


def _look_at(story: Story, systems: Systems) -> Settings:
    """Look at all that was given, before anything is built: settings, login, DHIS2 and database."""
    story.step("Your settings, DHIS2 and database, before anything is built")
    with told_by_options():
        settings = systems.settings()
        settings.require_complete()
        systems.credentials(settings)
        report = test_connection(systems, {"manual": True})
    story.say(as_text(report).replace("\n", "\n   "))
    must(report.all_well, "Nothing was built. The connection test says above what to correct.")
    return settings


def _agrees(settings: Settings) -> bool:
    must(
        sys.stdin.isatty(),
        "Nothing was sent. The demo asks before it sends, and there is no terminal to ask on. To send without a question: YES=1.",
    )
    return console.input(f"   Send these values to {escape(str(settings.url))}? (yes/no) ").strip() == "yes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and give its exit code: 0 where every step did what it should."""
    options = _parser().parse_args(arguments)
    if bool(options.source) != bool(options.dhis2_url):
        console.print("For your own systems give both SOURCE=… and DHIS2_URL=…", style="red")
        return 2
    if options.source and options.console:
        console.print("The demo's console is for its sample. For your own systems: make console", style="red")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    story = Story()
    console.print(f"[bold]{STACK}: from mSupply's database to DHIS2, on this machine[/bold]")
    try:
        if options.source:
            on_own_systems(story, options)
        else:
            on_sample(story, stays=options.console)
    except (DemoError, ToolError, MsupplyDhis2Error) as error:
        console.print(f"\n[bold red]The demo failed.[/bold red] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. Everything that was started is stopped and removed.")
        return 130
    story.end()
    if not options.source and not options.console:
        console.print("To do all this in a browser: make demo CONSOLE=yes")
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.demo", description="The whole path on this machine."
    )
    given = {name: value for name, value in os.environ.items() if value}
    parser.add_argument("--source", default=given.get("SOURCE"), metavar="URL", help="your mSupply database")
    parser.add_argument("--dhis2-url", default=given.get("DHIS2_URL"), metavar="URL", help="your DHIS2")
    parser.add_argument(
        "--settings",
        type=Path,
        default=given.get("SETTINGS", "settings.yaml"),
        metavar="FILE",
        help="your settings; their URL is replaced (default: settings.yaml)",
    )
    parser.add_argument(
        "--credentials",
        type=Path,
        default=given.get("CREDENTIALS"),
        metavar="FILE",
        help="JSON with username and password; else it is asked",
    )
    parser.add_argument(
        "--timezone", default=given.get("TIMEZONE", "UTC"), metavar="NAME", help="such as Pacific/Auckland"
    )
    parser.add_argument(
        "--console",
        action="store_true",
        default="CONSOLE" in given,
        help="open the console at the end, until Ctrl-C",
    )
    parser.add_argument(
        "--yes", action="store_true", default="YES" in given, help="send to your DHIS2 without asking"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
