"""``explain``: where a number comes from, and what became of it."""

from typing import TYPE_CHECKING

import click

from cli.commands.stack import ask_stack
from cli.options import STACK, Format, OptionError, RunOptions, for_a_value

if TYPE_CHECKING:
    from cli.stack import Stack
    from msupply_dhis2.explain.explanation import Explanation


@click.command(short_help="Explain where a value comes from.")
@click.option("--store", metavar="NAME", help="The store, by name or code.")
@click.option("--customer", metavar="NAME", help="The customer instead, by name or code.")
@click.option("--item", required=True, metavar="NAME", help="The item, by name or code.")
@click.option("--metric", required=True, metavar="METRIC", help="The metric, such as stock_on_hand.")
@click.option("--period", metavar="PERIOD", help="The period in DHIS2, such as 202601. Default: that of now.")
@for_a_value
def explain(options: RunOptions, **asked: str | None) -> int:
    """Explain a value: how it is worked out, from which stock lines and movements, and what it is in DHIS2.

    Where there is no value, it says why. With --stack it says also what became of the value, and what DHIS2 holds; with
    --credentials only what DHIS2 holds.
    """
    if options.form is Format.CSV:
        raise OptionError("--format csv: an explanation is not a table. Take table or json.")
    given = {**asked, "as_of": options.as_of}
    question = {name: said for name, said in given.items() if said is not None}
    systems = options.systems()
    if systems is None:
        return ask_stack(options.stack or STACK, lambda stack: _ask(stack, question, options.form))
    from cli import local

    with local.told_by_options():
        return _show(local.explain(systems, question), options.form)


def _ask(stack: "Stack", question: dict[str, str], form: Format) -> int:
    from cli.explanation import with_held

    return _show(with_held(stack.explain(question), lambda asked: stack.held(asked).values), form)


def _show(explanation: "Explanation", form: Format) -> int:
    from cli.explanation import as_text
    from cli.output import say

    say(explanation.model_dump_json(indent=2) if form is Format.JSON else as_text(explanation))
    return 0
