"""Run the stand-in in a process of its own: ``python -m sandbox.dhis2 --help``."""

import argparse
import signal
import sys
import textwrap
import threading
from datetime import date
from pathlib import Path

from pydantic import SecretStr

from sandbox.dhis2.faults import FaultKind
from sandbox.dhis2.metadata import Metadata, User
from sandbox.dhis2.server import ADMIN, StandIn
from sandbox.dhis2.stock import PREFIXES, stock_metadata
from sandbox.dhis2.versions import Version

_KINDS = textwrap.fill(", ".join(FaultKind), 78, initial_indent=" " * 29, subsequent_indent=" " * 22)

_EPILOG = f"""\
Its own addresses, without a login:
  POST   /__faults    plan a fault: {{"kind": "status", "status": 503, "times": 2, "path": "dataValueSets"}}
                      kinds: {_KINDS.strip()};
                      "after_import": true loses only the answer, "after": 3 lets three calls pass first
  DELETE /__faults    forget all planned faults
  GET    /__values    the stored values, by codes
  GET    /__requests  the calls so far
"""


def main() -> int:
    """Serve until SIGTERM or SIGINT; say where on standard output once listening."""
    options = _parser().parse_args()
    password = options.password_file and options.password_file.strip()
    user = User(
        username=options.user,
        password=SecretStr(password) if password else ADMIN.password,
        surname=options.user,
    )
    metadata = Metadata.model_validate_json(options.metadata) if options.metadata else _example_metadata()
    stand_in = StandIn(
        metadata,
        version=options.version,
        users=[user],
        now=options.now,
        port=options.port,
        base_path=options.base_path,
        log=options.log,
    )
    try:
        stand_in.start()
    except OSError as error:
        sys.exit(f"Port {options.port} cannot be used: {error.strerror}. Leave --port out for any free one.")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(f"DHIS2 stand-in {options.version} at {stand_in.url}", flush=True)  # noqa: T201 - what it is for
    ended.wait()
    stand_in.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.dhis2",
        description="A stand-in for DHIS2, in memory, on 127.0.0.1.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument(
        "--version",
        choices=[*Version],
        default=Version.V2_42,
        type=Version,
        metavar="VERSION",
        help=f"one of {', '.join(Version)} (default: 2.42)",
    )
    parser.add_argument("--user", default=ADMIN.username, help="who can log in (default: admin)")
    parser.add_argument("--password-file", type=_content, help="file with the password (default: district)")
    parser.add_argument(
        "--metadata", type=_content, help="what is set up, as JSON (default: two clinics, two items)"
    )
    parser.add_argument(
        "--now", type=date.fromisoformat, help="the day on the server's clock (default: the real one)"
    )
    parser.add_argument("--base-path", default="", help="context path, such as /dhis")
    parser.add_argument("--log", action="store_true", help="write each call to standard error")
    return parser


def _content(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error.strerror}") from error


def _example_metadata() -> Metadata:
    return stock_metadata(
        [("CLINIC_1", "First clinic"), ("CLINIC_2", "Second clinic")],
        [("ITEM_1", "First item"), ("ITEM_2", "Second item")],
        list(PREFIXES),
    )


if __name__ == "__main__":
    sys.exit(main())
