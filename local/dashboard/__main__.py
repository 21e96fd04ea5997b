"""``make dashboard``: the picture of the dashboard in the docs, from its definition and five weeks of runs.

Builds and deploys the stack onto the emulator, lets five weeks of runs happen there, and draws the dashboard as it is
deployed over what the functions have written. Where it is only to be looked at, ``--file`` names another file.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from local.dashboard import PICTURE
from local.dashboard.definition import DefinitionError
from local.dashboard.insights import QueryError
from local.dashboard.picture import draw
from local.dashboard.weeks import five_weeks
from local.stack import FunctionFailedError, StackError
from local.tools import ToolError
from msupply_dhis2.errors import MsupplyDhis2Error

CAPTION = (
    "The dashboard's definition as it is deployed, over five weeks of runs of the real functions on the local emulator of "
    "AWS: with a sample mSupply, a stand-in for DHIS2 on which some things go wrong, and a clock that is put forward from "
    "run to run. Each table is the answer to the widget's own query over the lines that were logged; each graph shows the "
    "metrics in those lines, and what the queues held. The emulator works neither out, so local/dashboard does, and draws "
    "them: CloudWatch's own lines look a little different. Drawn by make dashboard."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.dashboard", description="The dashboard's picture.")
    parser.add_argument("--file", type=Path, default=PICTURE, help="where to write it (docs/dashboard.png)")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        shown = five_weeks(console.print)
        draw(shown, CAPTION, options.file)
    except (
        DefinitionError,
        QueryError,
        ToolError,
        StackError,
        FunctionFailedError,
        MsupplyDhis2Error,
    ) as error:
        console.print(f"The dashboard could not be drawn. {error}")
        return 1
    console.print(f"Drawn: {options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
