"""How fast push is beside bare loops of ``requests`` calls.

    uv run python benchmarks/push.py [--items 200] [--org-units 50] [--versions 2.40 2.42 2.43] [--repeat 1]

It is measured twice: with the stand-in as fast as it can, which is ten times faster than any real DHIS2, and at the
rates of real servers (``sandbox/dhis2/rates.py``).

All talk to the same kind of server, the stand-in in a process of its own, fresh for each measurement, one after
the other in turns. A bare loop keeps its session, has nothing checked, and looks at nothing but the status. It
posts the values org unit by org unit, as they come out of a database, or the bodies that push would post. Push
recognises what cannot fit, posts, and reads each answer row by row.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from itertools import batched, chain
from pathlib import Path
from typing import Self, cast

import requests

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import Table  # noqa: E402 - after the path is set
from cli.sender import Sender  # noqa: E402 - as above
from msupply_dhis2.dhis2.client import Dhis2Client  # noqa: E402 - as above
from msupply_dhis2.dhis2.import_request import SentValue, request_body, request_parameters  # noqa: E402 - as above
from msupply_dhis2.domain.batch import Batch, Strip, encode  # noqa: E402 - as above
from msupply_dhis2.domain.data_value import Column, DataValue, Origin  # noqa: E402 - as above
from msupply_dhis2.domain.log_record import LogRecord  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.domain.outcome import Counts  # noqa: E402 - as above
from msupply_dhis2.push.job import (  # noqa: E402 - as above
    Dhis2Session,
    push,
    schemes_of,
)
from msupply_dhis2.settings import Scheme, Settings, parse_settings  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_dhis2_credentials  # noqa: E402 - as above
from sandbox.dhis2 import ADMIN, stock_metadata  # noqa: E402 - as above

AS_OF = datetime(2026, 2, 10, tzinfo=UTC)
LOGIN = (ADMIN.username, ADMIN.password.get_secret_value())


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement."""

    seconds: float
    bytes_sent: int
    in_dhis2: int
    calls: int


type Work = Callable[[str], Measured]
"""Brings the values to the stand-in at an address."""


class Imports(StrEnum):
    """How long the stand-in takes for data values."""

    FAST = "as fast as it can"
    REAL = "as a real server"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--org-units", type=int, default=50)
    parser.add_argument("--payload", type=int, default=1000, help="values in a call")
    parser.add_argument("--versions", nargs="+", default=["2.40", "2.42", "2.43"])
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    org_units = [(f"OU_{number:04}", f"Clinic {number}") for number in range(options.org_units)]
    items = [(f"{number:08x}", f"Item {number}") for number in range(options.items)]
    values = make_values(org_units, items)
    settings = settings_of("https://dhis2.example.org", options.payload)
    in_order = [
        encoded(some, settings)
        for some in batched(chain.from_iterable(values), options.payload, strict=False)
    ]
    batches = make_batches(values, settings)
    table = Table("version", "imports", "what", "calls:", "values a second:", "ratio:", "bytes a value:")
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.json"
        metadata.write_text(stock_metadata(org_units, items, ["stock_on_hand"]).model_dump_json())
        for version in options.versions:
            for imports in Imports:
                rows: dict[str, Work] = {
                    "bare loop, org unit by org unit": partial(bare_loop, batches=in_order),
                    "bare loop, payloads as push cuts them": partial(bare_loop, batches=batches),
                    "push": partial(push_loop, batches=batches),
                }
                if imports is Imports.REAL:
                    rows |= {
                        "push, two at a time": partial(push_two_at_a_time, batches=batches),
                        "push once more, nothing changed": partial(push_again, batches=batches),
                    }
                measured: dict[str, list[Measured]] = {what: [] for what in rows}
                for _ in range(options.repeat):
                    for what, work in rows.items():
                        with stand_in(version, metadata, imports) as url:
                            measured[what].append(work(url))
                report(table, version, imports, measured, sum(map(len, values)))


def report(
    table: Table, version: str, imports: Imports, measured: Mapping[str, Sequence[Measured]], values: int
) -> None:
    """Print the medians."""
    if {one.in_dhis2 for each in measured.values() for one in each} != {values}:
        raise SystemExit("Not all values were stored: nothing to compare.")
    medians = {what: statistics.median(one.seconds for one in each) for what, each in measured.items()}
    reference = next(iter(medians.values()))
    for what, seconds in medians.items():
        one = measured[what][0]
        table.row(
            version,
            imports,
            what,
            str(one.calls),
            f"{values / seconds:,.0f}",
            f"{reference / seconds:.2f}",
            f"{one.bytes_sent / values:.1f}",
        )


def make_values(
    org_units: Sequence[tuple[str, str]], items: Sequence[tuple[str, str]]
) -> list[list[DataValue]]:
    """Make a value of one metric of every item, for each org unit."""
    return [
        [
            DataValue(
                Column((f"SOH_{item}", None, None), "202601", Scheme.UID, Metric.STOCK_ON_HAND, name),
                Origin(org_unit, store),
                str(100 + place),
            )
            for place, (item, name) in enumerate(items)
        ]
        for org_unit, store in org_units
    ]


def encoded(values: Sequence[DataValue], settings: Settings) -> Batch:
    """Make a batch of values."""
    return encode(values, run_id="benchmark", as_of=AS_OF, destination=settings.destination)


def make_batches(values: Sequence[Sequence[DataValue]], settings: Settings) -> list[Batch]:
    """Cut values into batches, as compute does."""
    strip, payloads = Strip(maximum_values=settings.items_per_payload), list[list[DataValue]]()
    for of_org_unit in values:
        strip.add(of_org_unit)
        if strip.is_full:
            payloads += strip.cut(is_last=False)
    payloads += strip.cut(is_last=True)
    return [encoded(payload, settings) for payload in payloads]


def settings_of(url: str, payload: int) -> Settings:
    """Return the settings of a data element for each item."""
    row = "{metric: stock_on_hand, active: true, custom_field_name: user_field_1, interval: monthly, basis: previous_month}"
    return parse_settings(
        f"{{use_dhis2: true, url: '{url}', setup: data_element_per_item, data_elements: [{row}], "
        "data_set_id: MSUPPLY_STOCK, data_set_id_scheme: code, period_format: YYYYMM, "
        f"data_element_id_scheme: code, org_unit_scheme: code, items_per_payload: {payload}}}"
    )


@contextmanager
def stand_in(version: str, metadata: Path, imports: Imports) -> Iterator[str]:
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
        f"{AS_OF:%Y-%m-%d}",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        if process.stdout is not None:
            url = process.stdout.readline().split()[-1]
            if imports is Imports.REAL:
                fault = {"kind": "real_rates", "times": None}
                requests.post(f"{url}/__faults", json=fault, timeout=10).raise_for_status()
            yield url
        process.terminate()


def bare_loop(url: str, batches: Sequence[Batch]) -> Measured:
    """Post the bodies one after the other, without flags."""
    bodies = [
        request_body(
            batch.data_set_id,
            [SentValue(value.key, value.value) for value in batch.values],
            schemes_of(batch),
        )
        for batch in batches
    ]
    schemes = {
        name: value
        for name, value in request_parameters(schemes_of(batches[0])).items()
        if not name.startswith("strict")
    }
    sent = stored = 0
    started = time.perf_counter()
    with requests.Session() as session:
        session.auth = LOGIN
        for body in bodies:
            answer = session.post(f"{url}/api/dataValueSets", params=schemes, json=body, timeout=60)
            answer.raise_for_status()
            sent += len(answer.request.body or b"")
            counts = answer.json()["response"]["importCount"]
            stored += counts["imported"] + counts["updated"]
    return Measured(time.perf_counter() - started, sent, stored, len(bodies))


class Sessions:
    """Sessions with the stand-in, as push has them, and what they send."""

    def __init__(self, url: str) -> None:
        self.sent: list[int] = []
        self._url = url
        login = f'{{"username": "{LOGIN[0]}", "password": "{LOGIN[1]}"}}'
        self._credentials = parse_dhis2_credentials(login, settings_of(url, 1000))
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def connect(self) -> Dhis2Session:
        """Open a session."""
        client = Dhis2Client(self._url, self._credentials, tell=self._count)
        return Dhis2Session(self._opened.enter_context(client))

    def measured(self, started: float, in_dhis2: int) -> Measured:
        """Return what was measured since then."""
        seconds = time.perf_counter() - started
        return Measured(seconds, sum(self.sent), in_dhis2, sum(sent > 0 for sent in self.sent))

    def _count(self, call: LogRecord) -> None:
        self.sent.append(cast("int", call.fields["bytes_sent"]))


def push_loop(url: str, batches: Sequence[Batch]) -> Measured:
    """Push the batches one after the other, as a warm function does."""
    settings = settings_of(url, len(batches[0].values))
    with Sessions(url) as sessions:
        session = sessions.connect()
        started = time.perf_counter()
        stored = sum(push(batch, session, settings=settings).counts.stored for batch in batches)
        return sessions.measured(started, stored)


def push_two_at_a_time(url: str, batches: Sequence[Batch]) -> Measured:
    """Push the batches as the command does."""
    settings = settings_of(url, len(batches[0].values))
    with Sessions(url) as sessions:
        started = time.perf_counter()
        with Sender(sessions.connect, settings, lambda _, __: None) as sender:
            for batch in batches:
                sender.send(batch)
        return sessions.measured(started, sender.counts.stored)


def push_again(url: str, batches: Sequence[Batch]) -> Measured:
    """Push the batches of a run whose values DHIS2 has already."""
    settings = settings_of(url, len(batches[0].values))
    with Sessions(url) as sessions:
        session = sessions.connect()
        for batch in batches:
            push(batch, session, settings=settings)
        session.sent_unread = None
        sessions.sent.clear()
        started = time.perf_counter()
        counts = sum((push(batch, session, settings=settings).counts for batch in batches), Counts())
        return sessions.measured(started, counts.stored + counts.unchanged)


if __name__ == "__main__":
    main()
