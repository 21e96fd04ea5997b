"""A connection test's report for a terminal."""

from msupply_dhis2.preflight.check import Check
from msupply_dhis2.preflight.job import ConnectionReport

DETAILS_SHOWN = 20
"""How many details of a check are shown; the report in JSON has more."""

_GREEN, _YELLOW, _RED, _PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[0m"


def as_text(report: ConnectionReport, *, colour: bool = False) -> str:
    """Return a report for a terminal: the message, what is known, the summary, and each check.

    Of what is not well, or is worth noting, the first details are shown too.

    Parameters
    ----------
    colour
        Whether the terminal shows colours: green for what is well, red for what is not, yellow for what is worth noting.
    """

    def coloured(text: str, check: Check) -> str:
        shade = _RED if not check.ok else _YELLOW if check.note else _GREEN
        return f"{shade}{text}{_PLAIN}" if colour else text

    shade = _GREEN if report.connected else _RED
    lines = [f"{shade}{report.message}{_PLAIN}" if colour else report.message]
    if report.server:
        lines.append(f"Server: {report.server.name}, version {report.server.version}")
    if report.user:
        lines.append(f"User: {report.user}")
    lines.append(f"Last successful connection: {report.last_successful_connection or 'none on record'}")
    # What is well, and each note, stands below with its check.
    lines += ["", *(line for line in report.summary if not line.startswith(("Note: ", "OK: "))), ""]
    for check in report.checks:
        outcome = "not ok" if not check.ok else "note  " if check.note else "ok    "
        lines.append(f"{coloured(outcome, check)}  {check.name}: {check.message}")
        if check.ok and not check.note:
            continue
        lines += [f"          - {detail}" for detail in check.details[:DETAILS_SHOWN]]
        more = len(check.details[DETAILS_SHOWN:]) + check.more_details
        if more:
            lines.append(f"          - and {more:,} more")
    return "\n".join(lines)
