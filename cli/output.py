"""What a command says: results on standard output, everything else on standard error."""

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.options import Format

if TYPE_CHECKING:
    from cli.stack import LogRecord
from msupply_dhis2.compute.result import ComputeResult
from msupply_dhis2.compute.values import OrgUnitValues

FILE_WIDTH = 400
ROWS_SHOWN = 40
"""How many rows a terminal shows."""


def _messages() -> Console:
    # No emoji: the name of a secret holds ":secret:", which is one.
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def tell(sentence: str, level: int = logging.INFO) -> None:
    """Write a sentence to standard error; ``level`` is one of ``logging``'s, and chooses the colour."""
    style = "red" if level >= logging.ERROR else "yellow" if level >= logging.WARNING else ""
    _messages().print(sentence, style=style)


def tell_notes(result: ComputeResult) -> None:
    """Write what compute left out, and what there is to note."""
    for title, notes in (("Skipped", result.skipped), ("Notes", result.warnings)):
        if notes:
            tell("\n".join((f"{title}:", *(f"  - {note}" for note in notes))), logging.WARNING)


@contextmanager
def progress_bar() -> Iterator[Callable[[OrgUnitValues, int], None]]:
    """Show a bar while org units are worked on; what is yielded takes each, and how many there are."""
    console = _messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Org units", total=None)
        yield lambda _, org_units: progress.update(bar, advance=1, total=org_units)


def say(*lines: str) -> None:
    """Write lines to standard output."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def say_log_line(line: "LogRecord", function: str) -> None:
    """Write a line of a function's log to standard output, coloured by its level."""
    # No emoji: the name of a secret holds ":secret:", which is one.
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    style = {"ERROR": "red", "WARNING": "yellow"}.get(line.level, "")
    console.print(f"{line.instant:%H:%M:%S}Z  {function}  {line.level}  {line.message}", style=style)


def write_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], form: Format) -> None:
    """Write rows to standard output; a table without its empty columns, on a terminal the first rows only.

    Parameters
    ----------
    columns
        Their names: the heading of a table or CSV, the keys of JSON objects.
    rows
        ``None`` is an empty cell, and null in JSON.
    """
    if form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    elif form is Format.JSON:
        json.dump(
            [dict(zip(columns, row, strict=True)) for row in rows], sys.stdout, indent=2, ensure_ascii=False
        )
        sys.stdout.write("\n")
    else:
        given = list(rows)
        filled = [
            place for place in range(len(columns)) if any(row[place] not in {None, ""} for row in given)
        ]
        table = Table(show_header=any(columns))
        for place in filled or range(len(columns)):
            table.add_column(columns[place], overflow="fold")
        shown = given[:ROWS_SHOWN] if sys.stdout.isatty() else given
        for row in shown:
            table.add_row(*("" if row[place] is None else str(row[place]) for place in filled))
        _console().print(table)
        if more := len(given) - len(shown):
            tell(f"And {more:,} more. All rows: --format csv or --format json.")


def _console() -> Console:
    """Return a console that cuts nothing off where there is no terminal to fit into."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)


def write_record(record: Mapping[str, object], form: Format) -> None:
    """Write one record to standard output: an object in JSON, one row in CSV, a line for each field in a table."""
    if form is Format.JSON:
        json.dump(record, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    elif form is Format.CSV:
        write_rows(tuple(record), [tuple(record.values())], form)
    else:
        write_rows(("", ""), record.items(), form)
