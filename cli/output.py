"""Writing results: a table for people, CSV and JSON for programs. Nothing else goes to standard output."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from rich.console import Console
from rich.table import Table

FILE_WIDTH = 400


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def write_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], form: Format) -> None:
    """Write rows to standard output.

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
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        _console().print(table)


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
