"""How fast push is beside a bare loop of ``requests`` calls with the same payloads, and what gzip saves.

    uv run python benchmarks/push.py [--items 200] [--org-units 50] [--versions 2.42 2.43] [--repeat 5]

It is measured twice: with the stand-in as fast as it can, which is ten times faster than any real DHIS2, and with
imports that take as long as on real servers (``--call-seconds`` for a call, ``--rate`` values a second in it).

Both talk to the same kind of server, the stand-in in a process of its own, fresh for each measurement, one after
the other in turns. The bare loop keeps its session; it posts the bodies that push would post, and looks at
nothing but the status. Push recognises what cannot fit, posts, and reads each answer row by row.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import requests

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import Table  # noqa: E402 - after the path is set
from msupply_dhis2.dhis2.client import Dhis2Client  # noqa: E402 - as above
from msupply_dhis2.dhis2.import_request import SentValue, request_body, request_parameters  # noqa: E402 - as above
from msupply_dhis2.domain.batch import Batch, Strip, encode  # noqa: E402 - as above
from msupply_dhis2.domain.data_value import DataValue  # noqa: E402 - as above
from msupply_dhis2.domain.log_record import LogRecord  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.push.job import (  # noqa: E402 - as above
    Dhis2Session,
    push,
    schemes_of,
)
from msupply_dhis2.settings import Scheme, Settings, parse_settings  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_dhis2_credentials  # noqa: E402 - as above
from sandbox.dhis2 import ADMIN, stock_metadata  # noqa: E402 - as above

NOW = date(2026, 2, 10)
LOGIN = (ADMIN.username, ADMIN.password.get_secret_value())


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement."""

    seconds: float
    bytes_sent: int
    stored: int


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--org-units", type=int, default=50)
    parser.add_argument("--payload", type=int, default=1000, help="values in a call")
    parser.add_argument("--versions", nargs="+", default=["2.42", "2.43"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rate", type=float, default=3000, help="values a second of a real server's import")
    parser.add_argument("--call-seconds", type=float, default=0.1, help="what each call costs a real server")
    options = parser.parse_args()
    org_units = [(f"OU_{number:04}", f"Clinic {number}") for number in range(options.org_units)]
    items = [(f"{number:08x}", f"Item {number}") for number in range(options.items)]
    table = Table("version", "imports", "what", "values a second:", "ratio:", "bytes a value:")
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.json"
        metadata.write_text(stock_metadata(org_units, items, ["stock_on_hand"]).model_dump_json())
        for version in options.versions:
            batches = make_batches(org_units, items, options.payload)
            report(table, version, "as fast as it can", metadata, batches, options.repeat, None)
            real = {
                "kind": "slow_import",
                "times": None,
                "seconds": options.call_seconds,
                "seconds_per_value": 1 / options.rate,
            }
            report(table, version, "as a real server", metadata, batches, options.repeat, real)


def report(
    table: Table,
    version: str,
    imports: str,
    metadata: Path,
    batches: Sequence[Batch],
    repeat: int,
    slowness: Mapping[str, object] | None,
) -> None:
    """Measure both in turns, and print the medians."""
    bare, pushed = [], []
    for _ in range(repeat):
        with stand_in(version, metadata, slowness) as url:
            bare.append(bare_loop(url, batches))
        with stand_in(version, metadata, slowness) as url:
            pushed.append(push_loop(url, batches))
    values = sum(len(batch.values) for batch in batches)
    if {measured.stored for measured in (*bare, *pushed)} != {values}:
        raise SystemExit("Not all values were stored: nothing to compare.")
    reference = statistics.median(measured.seconds for measured in bare)
    for what, measured in (("bare loop", bare), ("push", pushed)):
        seconds = statistics.median(one.seconds for one in measured)
        table.row(
            version,
            imports,
            what,
            f"{values / seconds:,.0f}",
            f"{reference / seconds:.2f}",
            f"{measured[0].bytes_sent / values:.1f}",
        )


def make_batches(
    org_units: Sequence[tuple[str, str]], items: Sequence[tuple[str, str]], payload: int
) -> list[Batch]:
    """Cut one metric of every item and org unit into batches, as compute does."""
    settings = settings_of("https://dhis2.example.org", payload)
    values = (
        [
            DataValue.of(
                data_element=f"SOH_{item}",
                period="202601",
                org_unit=org_unit,
                category_option_combo=None,
                attribute_option_combo=None,
                option_combo_scheme=Scheme.UID,
                value=str(100 + place),
                store=store,
                item=name,
                metric=Metric.STOCK_ON_HAND,
            )
            for place, (item, name) in enumerate(items)
        ]
        for org_unit, store in org_units
    )
    as_of = datetime(2026, 2, 10, tzinfo=UTC)
    strip, payloads = Strip(maximum_values=payload), list[list[DataValue]]()
    for of_org_unit in values:
        strip.add(of_org_unit)
        if strip.is_full:
            payloads += strip.cut(is_last=False)
    payloads += strip.cut(is_last=True)
    return [
        encode(block, run_id="benchmark", as_of=as_of, destination=settings.destination) for block in payloads
    ]


def settings_of(url: str, payload: int) -> Settings:
    """Return the settings of a data element for each item."""
    row = "{metric: stock_on_hand, active: true, custom_field_name: user_field_1, interval: monthly, basis: previous_month}"
    return parse_settings(
        f"{{use_dhis2: true, url: '{url}', setup: data_element_per_item, data_elements: [{row}], "
        "data_set_id: STOCK_PER_ITEM, data_set_id_scheme: code, period_format: YYYYMM, "
        f"data_element_id_scheme: code, org_unit_scheme: code, items_per_payload: {payload}}}"
    )


@contextmanager
def stand_in(version: str, metadata: Path, slowness: Mapping[str, object] | None) -> Iterator[str]:
    """Run a fresh stand-in in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "sandbox.dhis2",
        "--version",
        version,
        "--metadata",
        str(metadata),
        "--now",
        f"{NOW}",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        if process.stdout is not None:
            url = process.stdout.readline().split()[-1]
            if slowness is not None:
                requests.post(f"{url}/__faults", json=slowness, timeout=10).raise_for_status()
            yield url
        process.terminate()


def bare_loop(url: str, batches: Sequence[Batch]) -> Measured:
    """Post the bodies one after the other."""
    bodies = [
        request_body(
            batch.data_set_id,
            [SentValue(value.key, value.value) for value in batch.values],
            schemes_of(batch),
        )
        for batch in batches
    ]
    sent = stored = 0
    started = time.perf_counter()
    with requests.Session() as session:
        session.auth = LOGIN
        for batch, body in zip(batches, bodies, strict=True):
            answer = session.post(
                f"{url}/api/dataValueSets",
                params=request_parameters(schemes_of(batch)),
                json=body,
                timeout=60,
            )
            answer.raise_for_status()
            sent += len(answer.request.body or b"")
            counts = answer.json()["response"]["importCount"]
            stored += counts["imported"] + counts["updated"]
    return Measured(time.perf_counter() - started, sent, stored)


def push_loop(url: str, batches: Sequence[Batch]) -> Measured:
    """Push the batches one after the other, as a warm function does."""
    settings = settings_of(url, len(batches[0].values))
    credentials = parse_dhis2_credentials(f'{{"username": "{LOGIN[0]}", "password": "{LOGIN[1]}"}}', settings)
    sent: list[int] = []

    def count(call: LogRecord) -> None:
        sent.append(cast("int", call.fields["bytes_sent"]))

    with closing(Dhis2Client(url, credentials, tell=count)) as client:
        session = Dhis2Session(client)
        started = time.perf_counter()
        stored = sum(push(batch, session, settings=settings).counts.stored for batch in batches)
        return Measured(time.perf_counter() - started, sum(sent), stored)


if __name__ == "__main__":
    main()
