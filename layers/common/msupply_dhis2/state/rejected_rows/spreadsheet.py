"""Rows as CSV that a spreadsheet opens as it is: no cell is taken for a formula.

UTF-8 with a byte order mark, by which Excel knows it; RFC 4180 otherwise.
"""

import csv
import re
from collections.abc import Iterable
from typing import TextIO

from msupply_dhis2.domain.rejected_row import RejectedRow

COLUMNS = (
    "run",
    "outcome",
    "store",
    "item",
    "metric",
    "data element",
    "org unit",
    "period",
    "category option combo",
    "attribute option combo",
    "value",
)
_OF_A_REASON = ("code", "reason", "what to do")
_BYTE_ORDER_MARK = "\ufeff"
_BEGINS_A_FORMULA = r"[=+\-@|%＝＋－＠]"  # noqa: RUF001 - Excel takes the wide ones for the narrow
"""What a cell must not begin with (OWASP, CSV injection)."""

_JOINERS = "\u200c\u200d"
"""Between the letters of many scripts; nobody sees them before a formula."""

_FORMULA = re.compile(f"[ {_JOINERS}]*{_BEGINS_A_FORMULA}")
_FORMULA_AFTER_A_SEMICOLON = re.compile(f";(?={_FORMULA.pattern})")
"""Where a comma is part of a number a spreadsheet parts cells by semicolons."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def safe(cell: str) -> str:
    """Return a text that a spreadsheet shows as it is; numbers stay numbers.

    An apostrophe before it makes it text. Line breaks and other control characters, which may begin another cell where
    the file is taken apart carelessly, become blanks.
    """
    if _NUMBER.fullmatch(cell):
        return cell
    text = "".join(
        character if character.isprintable() or character in _JOINERS else " " for character in cell
    )
    text = _FORMULA_AFTER_A_SEMICOLON.sub(";'", text)
    return f"'{text}" if _FORMULA.match(text) else text


def write_rows(rows: Iterable[RejectedRow], to: TextIO, *, run_id: str, reasons: int) -> None:
    """Write rows to a file opened with ``newline=""``; ``reasons`` is the most that any row has, three columns each."""
    writer = csv.writer(to)
    to.write(_BYTE_ORDER_MARK)
    of_reasons = [
        name if number == 1 else f"{name} {number}"
        for number in range(1, reasons + 1)
        for name in _OF_A_REASON
    ]
    writer.writerow([*COLUMNS, *of_reasons])
    for row in rows:
        cells = [
            run_id,
            row.outcome,
            row.store,
            row.item,
            row.metric,
            row.key.data_element,
            row.key.org_unit,
            row.key.period,
            row.key.category_option_combo or "",
            row.key.attribute_option_combo or "",
            row.value,
        ]
        for why in row.why:
            cells += (why.code, why.reason, why.what_to_do)
        cells += [""] * (3 * (reasons - len(row.why)))
        writer.writerow([safe(cell) for cell in cells])
