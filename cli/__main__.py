"""The command ``msupply-dhis2``.

``--help`` answers in a tenth of a second, because a command imports what it needs when it runs.
"""

import logging
import sys
from collections.abc import Sequence

from msupply_dhis2.errors import MsupplyDhis2Error

try:
    import click
except ModuleNotFoundError:
    sys.exit(
        "The command needs packages that are not installed. Install them with: pip install 'msupply-dhis2[cli]'"
    )

from cli.commands import console, credentials, explain, metadata, run, settings, stack

INTERRUPTED = 130

HELP = "Push stock metrics from mSupply to DHIS2, on this machine or with a stack that is deployed on AWS."

EXIT_CODES = """\b
Exit codes:
    0  All is well. push: DHIS2 has every value. test-connection: every check is well.
       watchdog: there is nothing to do.
    1  Something failed, or is not well. The messages say what.
    2  The command line is wrong.
  130  You interrupted it (Ctrl-C)."""

app = click.Group(
    name="msupply-dhis2",
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings={"max_content_width": 100},
    commands=[
        run.preview,
        run.push,
        explain.explain,
        run.test_connection,
        console.console,
        settings.settings,
        metadata.metadata,
        credentials.credentials,
        stack.dead_letters,
        stack.redrive,
        stack.pause,
        stack.resume,
        stack.stop,
        stack.held,
        stack.watchdog,
        stack.logs,
        stack.before_delete,
    ],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        code = app.main(arguments, prog_name="msupply-dhis2", standalone_mode=False)
    except click.Abort:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MsupplyDhis2Error as error:
        from cli.output import tell

        tell(str(error), logging.ERROR)
        return 1
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
