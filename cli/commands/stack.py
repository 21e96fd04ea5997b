"""The commands for a deployed stack: dead letters, the breaker, the watchdog, the logs."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.options import STACK, Format, in_form, of_stack
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from cli.stack import Stack

_FOLLOW_EVERY = 2.0

HELD_COLUMNS = (
    "org_unit",
    "data_element",
    "category_option_combo",
    "attribute_option_combo",
    "period",
    "value",
    "stored_by",
    "last_updated",
)

of_run = click.option("--run", metavar="RUN-ID", help="Only those of this run.")
with_reason = click.option("--reason", metavar="WORDS", help="Only those whose reason holds these words.")


def ask_stack(name: str, ask: Callable[["Stack"], int]) -> int:
    """Ask something of a deployed stack; where it is not well, say how make is told of which stack this was."""
    from cli.output import tell
    from cli.stack import NoStackError, deployed

    try:
        with deployed(name) as stack:
            code = ask(stack)
    except NoStackError:
        raise
    except MsupplyDhis2Error as error:
        tell(str(error), logging.ERROR)
        code = 1
    if code and name != STACK:
        # The functions name commands without it.
        tell(f"This is about the stack {name}. End each make command with STACK={name}.")
    return code


def _say(*lines: str) -> int:
    from cli.output import say

    say(*lines)
    return 0


@click.command(short_help="List the batches that could not be delivered.")
@of_run
@with_reason
@of_stack
def dead_letters(run: str | None, reason: str | None, stack: str) -> int:
    """List the dead letters, the batches that could not be delivered to DHIS2, by run and reason."""
    return ask_stack(
        stack, lambda deployed: _say(deployed.ask_push({"dead_letters": "list"}, run=run, reason=reason))
    )


@click.command(short_help="Send dead letters again, after the cause is fixed.")
@of_run
@with_reason
@of_stack
def redrive(run: str | None, reason: str | None, stack: str) -> int:
    """Send dead letters again, after the cause is fixed."""

    def send(deployed: "Stack") -> int:
        is_all = False
        for answer in deployed.redrive(run, reason):
            _say(answer.message)
            is_all = answer.is_all
        return 0 if is_all else 1

    return ask_stack(stack, send)


@click.command(short_help="Stop sending to DHIS2; values wait.")
@click.option("--reason", metavar="WORDS", help="Why; the log and the connection test show it.")
@of_stack
def pause(reason: str | None, stack: str) -> int:
    """Stop sending to DHIS2. Values wait for at most ten days."""
    return ask_stack(stack, lambda deployed: _say(deployed.ask_push({"breaker": "open"}, reason=reason)))


@click.command(short_help="Go on sending after pause.")
@of_stack
def resume(stack: str) -> int:
    """Go on sending after pause."""
    return ask_stack(stack, lambda deployed: _say(deployed.ask_push({"breaker": "close"})))


@click.command(short_help="Stop a run: the rest of it is not sent.")
@click.argument("run", metavar="RUN-ID")
@of_stack
def stop(run: str, stack: str) -> int:
    """Stop a run: the rest of it is not sent. DHIS2 keeps what it has."""
    return ask_stack(stack, lambda deployed: _say(deployed.ask_push({"stop": run})))


@click.command(short_help="Show what DHIS2 holds.")
@click.option("--store", "stores", multiple=True, metavar="NAME", help="A store, by name or code.")
@click.option("--org-unit", "org_units", multiple=True, metavar="ID", help="An org unit instead.")
@click.option("--period", "periods", multiple=True, required=True, metavar="PERIOD", help="Such as 202601.")
@click.option("--item", "items", multiple=True, metavar="NAME", help="Only this item, by name or code.")
@click.option("--metric", "metrics", multiple=True, metavar="METRIC", help="Only this metric.")
@click.option("--data-element", "data_elements", multiple=True, metavar="ID", help="Only this data element.")
@in_form
@of_stack
def held(stack: str, form: str, **asked: tuple[str, ...]) -> int:
    """Show which values DHIS2 holds, who stored them and when. Each option can be given several times.

    Name stores or org units, one of the two.
    """

    def show(deployed: "Stack") -> int:
        from cli.output import tell, write_rows

        held = deployed.held({name: words for name, words in asked.items() if words})
        rows = ([value[name] for name in HELD_COLUMNS] for value in held.values)
        write_rows(HELD_COLUMNS, rows, Format(form))
        tell(held.message)
        return 0

    return ask_stack(stack, show)


@click.command(short_help="Check that each run took place and ended.")
@of_stack
def watchdog(stack: str) -> int:
    """Check now that each run took place and ended. The stack does so every day."""

    def look(deployed: "Stack") -> int:
        answer = deployed.watchdog()
        _say(answer.message, *(f"- {finding}" for finding in answer.findings))
        return 1 if answer.findings else 0

    return ask_stack(stack, look)


@click.command(short_help="Show what the functions logged.")
@click.option(
    "--minutes", type=int, default=60, show_default=True, metavar="NUMBER", help="How far to go back."
)
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C.")
@of_stack
def logs(minutes: int, follow: bool, stack: str) -> int:  # noqa: FBT001 - as click hands it over
    """Show what the functions logged, the oldest line first; the times are in UTC."""
    return ask_stack(stack, lambda deployed: _show_logs(deployed, timedelta(minutes=minutes), follow=follow))


def _show_logs(deployed: "Stack", back: timedelta, *, follow: bool) -> int:
    from cli.output import say_log_line, tell
    from cli.stack import LogFollower

    follower = LogFollower(deployed, since=datetime.now(UTC) - back)
    lines = follower.new_lines()
    if not lines and not follow:
        tell(f"Nothing was logged in the last {count(round(back.total_seconds() / 60), 'minute')}.")
    while True:
        for line, function in lines:
            say_log_line(line, function.removesuffix("Function"))
        if not follow:
            return 0
        time.sleep(_FOLLOW_EVERY)
        lines = follower.new_lines()


@click.command(hidden=True)
@of_stack
def before_delete(stack: str) -> int:
    """Say what is deleted with the stack, and what stays. Nothing is deleted yet."""
    from cli.stack import what_a_deletion_takes

    return ask_stack(stack, lambda deployed: _say(*what_a_deletion_takes(deployed)))
