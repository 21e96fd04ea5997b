"""``preview``, ``push`` and ``test-connection``: on this machine, or with a deployed stack."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cli.commands.stack import ask_stack
from cli.options import STACK, Format, RunOptions, for_a_run

if TYPE_CHECKING:
    from cli.stack import Stack
    from msupply_dhis2.compute.event import ComputeEvent
    from msupply_dhis2.compute.result import ComputeResult
    from msupply_dhis2.preflight.job import ConnectionReport

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

OF_CUSTOMERS = ("kind", "document")
"""More columns, where any value is a customer's that is no store."""


def preview_columns(*, has_customers: bool) -> tuple[str, ...]:
    """Return which fields of values a preview shows."""
    return PREVIEW_COLUMNS + (OF_CUSTOMERS if has_customers else ())


LIMITS = {"as_of", "basis", "months", "metrics", "stores", "items"}
"""The fields of a manual push's event that an export has too."""


@click.command(short_help="Compute all values and print them; nothing is sent.")
@for_a_run
def preview(options: RunOptions) -> int:
    """Compute all values that a push would send, and print them. Nothing is sent.

    With --stack the stack computes, and writes the values into a file of its bucket. For what a schedule
    sends it prints only the counts.
    """
    systems = options.systems()
    if systems is None:
        return _preview_on_stack(options)
    from cli import local
    from cli.output import progress_bar, tell, tell_notes, write_rows

    with local.told_by_options(), progress_bar() as watch:
        previewed = local.preview(systems, options.document(), tell=tell, watch=watch)
    columns = preview_columns(has_customers=previewed.result.customers > 0)
    told = (value.by_name() for value in previewed.values)
    rows = ([each[name] for name in columns] for each in told)
    write_rows(columns, rows, options.form)
    tell(previewed.result.message)
    tell_notes(previewed.result)
    return 0


@click.command(short_help="Compute all values, send them, and print the outcome.")
@for_a_run
def push(options: RunOptions) -> int:
    """Compute all values, send them to DHIS2, and print the outcome.

    With --stack the stack computes and sends. Its log has the outcome of each value.
    """
    systems = options.systems()
    if systems is None:
        return _push_on_stack(options, options.document())
    from cli import local
    from cli.output import progress_bar, tell, tell_notes, write_record
    from cli.sender import tell_refusals

    with local.told_by_options(), progress_bar() as watch:
        pushed = local.push(systems, options.document(), tell=tell, watch=watch)
    tell_refusals(pushed.refusals, tell)
    tell_notes(pushed.result)
    tell(f"{pushed.counts.sentence()}." if pushed.is_sent else pushed.result.message)
    write_record(pushed.record(), options.form)
    return 0 if pushed.all_well else 1


@click.command(short_help="Log in to DHIS2, and check everything that a push needs.")
@for_a_run
def test_connection(options: RunOptions) -> int:
    """Log in to DHIS2, and check everything that a push needs. Nothing is written.

    With --stack the stack does so, over its own network.
    """
    systems = options.systems()
    if systems is not None:
        from cli import local

        return _show_report(local.test_connection(systems, options.document()), options.form)
    if options.asks_for_something:
        raise click.UsageError(
            "Give --event, --basis, --months and --as-of without --stack. A stack tests its next runs."
        )
    return ask_stack(
        options.stack or STACK, lambda stack: _show_report(stack.test_connection(), options.form)
    )


def _preview_on_stack(options: RunOptions) -> int:
    from cli.output import tell, tell_notes, write_rows
    from msupply_dhis2.compute.event import parse_compute_event
    from msupply_dhis2.compute.result import Status

    asked = parse_compute_event(options.document())
    if not asked.manual:
        return _push_on_stack(options, {**options.document(), "dry_run": True})

    def ask(stack: "Stack") -> int:
        _announce(asked, stack)
        limits = asked.model_dump(mode="json", include=LIMITS, exclude_none=True)
        result, values = stack.export(limits)
        if result.status is not Status.EXPORTED:
            return _show_result(result, options.form)
        columns = preview_columns(has_customers=result.customers > 0)
        rows = ([value[name] for name in columns] for value in values)
        write_rows(columns, rows, options.form)
        tell(result.message)
        tell_notes(result)
        return 0

    return ask_stack(options.stack or STACK, ask)


def _announce(asked: "ComputeEvent", stack: "Stack") -> "ConnectionReport | None":
    """Say which push it is, and its days where the stack's connection test knows them; return that test's report."""
    from cli.announcement import tell_from_checks
    from cli.output import tell

    of_today = not (asked.months or asked.as_of or asked.scheduled_time)
    report = stack.test_connection() if of_today else None
    tell_from_checks(asked, report.checks if report else (), tell)
    return report


def _push_on_stack(options: RunOptions, event: Mapping[str, object]) -> int:
    from cli.announcement import CHARTS, insist_on_open
    from cli.output import tell
    from msupply_dhis2.compute.event import parse_compute_event
    from msupply_dhis2.compute.result import Status

    # A part of a run (its shard) was told with its run.
    asked = None if "shard" in event else parse_compute_event(event)

    def ask(stack: "Stack") -> int:
        if asked and (asked.manual or asked.interval):
            report = _announce(asked, stack)
            if asked.sends:
                why = "A stack looks at the periods of today." if report is None else report.message
                insist_on_open(asked, report.checks if report else (), tell, why)
        result = stack.push(event)
        if asked and result.status is Status.SENT:
            tell(CHARTS)
        return _show_result(result, options.form)

    return ask_stack(options.stack or STACK, ask)


def _show_result(result: "ComputeResult", form: Format) -> int:
    """Print what compute answers on a stack."""
    from cli.output import say, write_record
    from msupply_dhis2.compute.result import Status

    if form is not Format.TABLE:
        write_record(result.model_dump(mode="json"), form)
    else:
        facts = {
            "Run": result.run_id,
            "As of": result.as_of
            and f"{result.as_of:%Y-%m-%d %H:%M} ({result.time_zone or f'UTC{result.as_of:%:z}'})",
            "See the log": result.see_the_log,
        }
        say(result.message, *(f"{name}: {value}" for name, value in facts.items() if value))
        for title, sentences in (("Skipped", result.skipped), ("Notes", result.warnings)):
            if sentences:
                say(f"{title}:", *(f"  - {sentence}" for sentence in sentences))
    return 1 if result.status is Status.FAILED else 0


def _show_report(report: "ConnectionReport", form: Format) -> int:
    """Print a connection test's report."""
    from cli.output import say, write_rows
    from cli.report import as_text

    if form is Format.JSON:
        say(report.model_dump_json(indent=2))
    elif form is Format.CSV:
        columns = ("name", "ok", "message", "details")
        rows = ((check.name, check.ok, check.message, "\n".join(check.details)) for check in report.checks)
        write_rows(columns, rows, form)
    else:
        say(as_text(report, colour=sys.stdout.isatty()))
    return 0 if report.all_well else 1
