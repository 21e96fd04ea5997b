"""The console's server: on this machine only, on a port of its own, until Ctrl-C."""

import secrets
import socket
import sys
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.options import OptionError

if TYPE_CHECKING:
    from cli.console.state import State

HOST = "127.0.0.1"


def serve(stack: str | None, named: Mapping[str, object], *, port: int | None, opens_browser: bool) -> None:
    """Print the address, and answer until somebody presses Ctrl-C: about a stack, or the systems that options name.

    The address is printed at once: a browser that opens it waits until the pages are loaded.

    Raises
    ------
    OptionError
        The port is taken.
    StackError
        There is no such stack, or it may not be looked at.
    """
    with _listen(port) as listening:
        number = listening.getsockname()[1]
        token = secrets.token_urlsafe(32)
        address = f"http://{HOST}:{number}/?token={token}"
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        sys.stderr.write("The console is for you alone: the address works once. Ctrl-C ends it.\n")
        if opens_browser:
            webbrowser.open(address)
        # They take most of a second.
        import uvicorn  # noqa: PLC0415

        from cli.console.app import make_app  # noqa: PLC0415

        config = uvicorn.Config(
            make_app(_state(stack, named), port=number, token=token),
            log_level="warning",
            # The address with the token would stand in it.
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            sys.stderr.write("The console has ended.\n")


def _state(stack: str | None, named: Mapping[str, object]) -> "State":
    if stack is not None:
        from cli.console.stack_state import StackState  # noqa: PLC0415

        return StackState(stack)
    from cli.console.local_state import LocalState  # noqa: PLC0415
    from cli.local import systems_of  # noqa: PLC0415

    return LocalState(systems_of(named))


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server((HOST, port or 0), backlog=64)
    except (OSError, OverflowError) as error:
        raise OptionError(
            f"--port: {port} cannot be used: {error}. Leave --port out for any free port."
        ) from error
