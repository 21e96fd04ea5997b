"""Writes ``docs/errors.md`` from the error catalogue: ``PYTHONPATH=layers/common uv run python -m cli.error_document > docs/errors.md``."""

import sys
from collections.abc import Mapping

from msupply_dhis2.dhis2.error_catalogue import ConnectionFault, Explanation, read_catalogue


def _table(explanations: Mapping[str, Explanation]) -> list[str]:
    return [
        "| code | what it means | who can fix it | how | may pass |",
        "|---|---|---|---|---|",
        *(
            f"| {code} | {explanation.meaning} | {explanation.who} | {explanation.cure} | "
            f"{'yes' if explanation.may_pass else 'no'} |"
            for code, explanation in explanations.items()
        ),
    ]


def catalogue_as_markdown() -> str:
    """Write ``docs/errors.md``."""
    catalogue = read_catalogue()
    lines = [
        "# What the messages mean",
        "",
        "Generated from `layers/common/msupply_dhis2/dhis2/error_catalogue.yaml`; edit that file.",
        "",
        "## When DHIS2 cannot be reached, or refuses the login",
        "",
        '"Tried again": whether a push goes back to the queue automatically. What is not is logged as failed.',
        "",
        "| fault | message | what to do | tried again |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {fault.kind} | {problem}. | {cure}. | {'yes' if fault.error.is_transient else 'no'} |"
        for fault in ConnectionFault
        for problem, cure in [fault.words(url="URL", username="the user", seconds="N")]
    ]
    lines += [
        "",
        "## When a value is not stored",
        "",
        '"May pass": whether a later push of the same value may succeed although nobody has fixed anything.',
        "",
        "### What this integration finds itself",
        "",
        *_table(catalogue.ours),
        "",
        "### What DHIS2 says",
        "",
        "E76xx are the codes of DHIS2 up to 2.42, E80xx and E81xx those of 2.43 and later.",
        "From 2.43 many codes refuse all values of a call although one is wrong: push finds the wrong one, and the",
        "others are sent again.",
        "",
        *_table(dict(sorted(catalogue.dhis2.items()))),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(catalogue_as_markdown())
