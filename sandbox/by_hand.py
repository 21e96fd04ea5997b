"""``make by-hand``: the commands of docs/start-here.md, one after the other, on a free port and in a folder of their own."""

import json
import shlex
import sys
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.__main__ import main as command
from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import ADMIN, StandIn
from sandbox.sample import generate
from sandbox.sample_world import catalogue_of, empty_metadata_for
from sandbox.tools import PROJECT

AS_OF = date(2026, 10, 31)


def main() -> int:
    """Set a stand-in for DHIS2 up, preview, test the connection and push, from a sample database; stop where one is not well."""
    with TemporaryDirectory() as folder:
        source = f"sqlite:///{folder}/sample.sqlite"
        generate(source, stores=4, items=15, as_of=AS_OF)
        sample = (PROJECT / "settings.yaml").read_text(encoding="utf-8")
        settings, credentials = Path(folder, "my-settings.yaml"), Path(folder, "credentials.json")
        settings.write_text(sample.replace("use_dhis2: false", "use_dhis2: true", 1), encoding="utf-8")
        login = {"username": ADMIN.username, "password": ADMIN.password.get_secret_value()}
        credentials.write_text(json.dumps(login), encoding="utf-8")
        metadata = empty_metadata_for(catalogue_of(source, parse_settings(sample)))
        plan = f"{folder}/plan"
        with StandIn(metadata, now=AS_OF + timedelta(days=1)) as dhis2:
            systems = ["--settings", str(settings), "--source", source]
            here = [*systems, "--as-of", AS_OF.isoformat()]
            there = ["--dhis2-url", dhis2.url, "--credentials", str(credentials)]
            for arguments in (
                ["metadata", "plan", *systems, *there, "--out", plan],
                ["metadata", "apply", plan, *there, "--as-of", AS_OF.isoformat(), "--yes"],
                ["preview", *here, "--as-scheduled"],
                ["test-connection", *here, *there],
                ["push", *here, *there, "--as-scheduled"],
            ):
                sys.stdout.write(f"\n$ msupply-dhis2 {shlex.join(arguments)}\n")
                sys.stdout.flush()
                if code := command(arguments):
                    return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
