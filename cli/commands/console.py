"""``console``."""

import click

from cli.options import STACK, for_systems, names_stack


@click.command(short_help="Open the DHIS2 tab as pages in your browser.")
@for_systems
@click.option(
    "--port", type=click.IntRange(1, 65_535), metavar="NUMBER", help="The port. Default: a free one."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def console(port: int | None, no_browser: bool, stack: str | None, **named: object) -> int:  # noqa: FBT001 - as click hands it over
    """Open the DHIS2 tab as pages in your browser, on this machine only, until Ctrl-C.

    Without an option it is about the stack msupply-dhis2. It prints the address on a line of its own. The address lets in one browser, once: do not pass it on.
    """
    if stack is None and not any(named.values()):
        stack = STACK
    names_stack(stack, named)
    from cli.console.server import serve

    serve(stack, named, port=port, opens_browser=not no_browser)
    return 0
