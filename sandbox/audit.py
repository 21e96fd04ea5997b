"""Looks every locked package up in the database of known vulnerabilities (OSV), run-time and development ones.

``python -m sandbox.audit`` ends with 0 where none is known, 1 where one is, 2 where the database was not reached.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from sandbox.tools import PROJECT, uv

VULNERABLE = 1
NOT_AUDITED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and tell in words where it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.audit", description=__doc__)
    parser.add_argument("--service", help="address of another OSV service than https://api.osv.dev")
    parser.add_argument(
        "--unless-offline",
        action="store_true",
        help="end with 0 where the database cannot be reached: a build machine may have no way to it",
    )
    options = parser.parse_args(arguments)
    command = [uv(), "audit", "--locked", "--preview-features", "audit-command"]
    if options.service:
        command += ["--service-url", options.service]
    audited = subprocess.run(  # noqa: S603 - our own command
        command, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    sys.stdout.write(f"{audited.stdout}{audited.stderr}".strip() + "\n")
    if audited.returncode in {0, VULNERABLE}:
        return audited.returncode
    is_offline = "error sending request" in audited.stderr
    if is_offline:
        sys.stdout.write(
            "NOT AUDITED: the database of vulnerabilities could not be reached from this machine. Run make audit "
            "where the Internet is.\n"
        )
    return 0 if is_offline and options.unless_offline else NOT_AUDITED


if __name__ == "__main__":
    sys.exit(main())
