"""A large run in shards, on paper: messages, time, connections and dollars; and what dividing costs, measured.

    uv run python benchmarks/fan_out.py [--stores 10000] [--concurrency 4] [--lines-per-invocation 2000000]

First a country is made up whose stores are as uneven as real ones (their lines are distributed log-normally), divided
by the very function that plans a run, and its run is worked out from what was measured of one process. Then a sample
database is computed in one piece and in shards, which shows what each shard costs besides its lines.
"""

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.compute import AS_OF, CALENDAR, EVENT, sample, settings  # noqa: E402 - after the path is set
from benchmarks.measure import Table  # noqa: E402 - as above
from benchmarks.prices import (  # noqa: E402 - as above
    DYNAMODB_WRITE,
    GIGABYTE,
    LAMBDA_REQUEST,
    LAMBDA_TIME,
    LOGS,
    SQS_REQUEST,
    sqs_requests,
)
from msupply_dhis2.aws.queues import ENTRIES_IN_ONE_CALL  # noqa: E402 - as above
from msupply_dhis2.compute.event import MonthStep  # noqa: E402 - as above
from msupply_dhis2.compute.job import ComputeJob  # noqa: E402 - as above
from msupply_dhis2.compute.sharding import Shard, count_ledger_lines, divide, whole_run  # noqa: E402 - as above
from msupply_dhis2.domain.batch import MAXIMUM_MESSAGE_BYTES, blocks, encode  # noqa: E402 - as above
from msupply_dhis2.domain.data_value import Column, DataValue, Origin  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.domain.stock import OrgUnit, Store  # noqa: E402 - as above
from msupply_dhis2.settings import Scheme  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_database_address  # noqa: E402 - as above
from msupply_dhis2.source import open_source  # noqa: E402 - as above

# template.yaml
COMPUTE_GIGABYTES = 1769 / 1024
PUSH_GIGABYTES = 512 / 1024
PUSHES_AT_ONCE = 2

# The nation of docs/performance.md (benchmarks/compute.py --stores 1289 --items 500 --movements 10000000).
NATION_STORES = 1_289
NATION_LINES = 1_954_661 + 9_807_811
NATION_VALUES = 6_971_059
NATION_BATCHES = 7_333

# What this very benchmark measures on PostgreSQL with --sample-stores 200 --sample-items 500
# --sample-movements 1000000, on the machine of docs/performance.md; rounded up, because it was busy (0.2 to 1.1
# microseconds for a line of all).
SECONDS_OF_A_LINE = 16e-6
SECONDS_OF_A_LINE_OF_ALL = 1e-6
SECONDS_TO_COUNT_A_LINE = 1e-6

# Units of DynamoDB, as benchmarks/costs.py counts them (--measured 10 40): a run's and a shard's notes of how far they are; a
# batch's values are claimed, it is counted, sent and settled.
WRITES_OF_A_RUN = 20
WRITES_OF_A_SHARD = 16
WRITES_OF_A_BATCH = 15
# The lines of an invocation with their fields, its metrics, and Lambda's own three lines.
LOG_BYTES_OF_AN_INVOCATION = 3_000
SEED = 20261031


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a run comes to."""

    shards: tuple[tuple[OrgUnit, ...], ...]
    sizes: tuple[int, ...]
    planning: float
    compute_seconds: tuple[float, ...]
    elapsed: float
    values: int
    batches: int
    batch_bytes: int


def country(stores: int, lines_per_store: float, spread: float) -> tuple[list[OrgUnit], dict[str, int]]:
    """Make up org units of one store each, whose lines are distributed log-normally.

    ``spread`` is the standard deviation of the logarithm: with 1 the largest hundredth of the stores has
    nine hundredths of all lines.
    """
    chance = random.Random(SEED)  # noqa: S311 nothing secret
    # The mean of a log-normal distribution is exp(mu + sigma² / 2).
    mu = math.log(lines_per_store) - spread**2 / 2
    org_units = []
    lines = {}
    for number in range(stores):
        code = f"OU{number:09d}"
        org_units.append(OrgUnit(code, (Store(code, code, code, code),)))
        lines[code] = round(chance.lognormvariate(mu, spread))
    return org_units, lines


def elapsed(planning: float, seconds: Sequence[float], at_once: int) -> float:
    """Return the seconds until the last of some shards is done, so many at once, in their order."""
    workers = [planning] * min(at_once, len(seconds))
    for each in seconds:
        heapreplace(workers, workers[0] + each)
    return max(workers)


def bytes_of_a_batch(values: int) -> int:
    """Return the size of a message with so many values."""
    side = math.isqrt(values)
    made = [
        DataValue(
            Column(
                (f"DE{place % side:09d}", None, None),
                "202610",
                Scheme.UID,
                Metric.STOCK_ON_HAND,
                f"Amoxicillin {place % side:04d}mg tabs",
            ),
            Origin(f"OU{place // side:09d}", f"Health centre {place // side:06d}"),
            str(place),
        )
        for place in range(values)
    ]
    run_id = "20261101T010000Z-monthly-1f0c2a9b"
    (payload,) = blocks([made], maximum_values=values)
    return len(encode(payload, run_id=run_id, as_of=AS_OF, destination=settings().destination).body)


def simulate(arguments: argparse.Namespace) -> Simulated:
    """Plan a run, and work out what it comes to."""
    org_units, lines = country(arguments.stores, arguments.lines_per_store, arguments.spread)
    shards = divide(org_units, lines, arguments.lines_per_invocation)
    sizes = tuple(count_ledger_lines(shard, lines) for shard in shards)
    fixed = arguments.seconds_per_shard + sum(sizes) * arguments.seconds_per_line_of_all
    seconds = tuple(fixed + size * arguments.seconds_per_line for size in sizes)
    planning = arguments.seconds_per_shard + sum(sizes) * SECONDS_TO_COUNT_A_LINE
    values = round(sum(sizes) * NATION_VALUES / NATION_LINES)
    batches = round(values * NATION_BATCHES / NATION_VALUES)
    return Simulated(
        shards=shards,
        sizes=sizes,
        planning=planning,
        compute_seconds=seconds,
        elapsed=elapsed(planning, seconds, arguments.concurrency),
        values=values,
        batches=batches,
        batch_bytes=bytes_of_a_batch(round(NATION_VALUES / NATION_BATCHES)),
    )


def report(run: Simulated, arguments: argparse.Namespace) -> None:
    """Print what a run comes to."""
    shard_bytes = max(len(message(shard, run).encoded()) for shard in run.shards)
    chunks = sqs_requests(run.batch_bytes)
    in_a_call = min(ENTRIES_IN_ONE_CALL, MAXIMUM_MESSAGE_BYTES // run.batch_bytes)
    calls = math.ceil(run.batches / in_a_call)
    # Sent (a call is as many requests as it has 64 KB), received and deleted.
    batch_requests = calls * sqs_requests(in_a_call * run.batch_bytes) + run.batches * (chunks + 1)
    shard_requests = len(run.shards) * (2 * sqs_requests(shard_bytes) + 1)
    compute_seconds = sum(run.compute_seconds) + run.planning
    push_seconds = run.values / arguments.values_per_second
    invocations = 1 + len(run.shards) + run.batches
    writes = WRITES_OF_A_RUN + WRITES_OF_A_SHARD * len(run.shards) + WRITES_OF_A_BATCH * run.batches
    log_gigabytes = invocations * LOG_BYTES_OF_AN_INVOCATION / GIGABYTE
    dollars = {
        "compute, GB-seconds": compute_seconds * COMPUTE_GIGABYTES * LAMBDA_TIME.dollars,
        "push, GB-seconds": push_seconds * PUSH_GIGABYTES * LAMBDA_TIME.dollars,
        "Lambda requests": invocations * LAMBDA_REQUEST.dollars,
        "SQS requests": (batch_requests + shard_requests) * SQS_REQUEST.dollars,
        "DynamoDB writes": writes * DYNAMODB_WRITE.dollars,
        "CloudWatch logs": log_gigabytes * LOGS.dollars,
    }
    table = Table("a run", "number:")
    for name, number in (
        ("stores", f"{arguments.stores:,}"),
        ("lines of mSupply", f"{sum(run.sizes):,}"),
        ("shards, each a message", f"{len(run.shards):,}"),
        ("lines in the smallest and the largest shard", f"{min(run.sizes):,} to {max(run.sizes):,}"),
        ("largest shard beside the mean", f"{max(run.sizes) / statistics.mean(run.sizes):.4f}"),
        ("org units in a shard", f"{min(map(len, run.shards)):,} to {max(map(len, run.shards)):,}"),
        ("largest message of a shard, KB", f"{shard_bytes / 1024:.1f}"),
        ("shards at once, and connections to the database", f"{min(arguments.concurrency, len(run.shards))}"),
        ("planning, seconds of 900", f"{run.planning:.0f}"),
        ("longest shard, seconds of 900", f"{max(run.compute_seconds):.0f}"),
        ("compute until the last batch is queued, minutes", f"{run.elapsed / 60:.1f}"),
        ("the same one after the other, minutes", f"{compute_seconds / 60:.1f}"),
        ("values", f"{run.values:,}"),
        ("batches, each a message", f"{run.batches:,}"),
        (f"push, {PUSHES_AT_ONCE} at once, minutes", f"{push_seconds / PUSHES_AT_ONCE / 60:.0f}"),
        ("SQS requests", f"{batch_requests + shard_requests:,}"),
        ("DynamoDB write units", f"{writes:,}"),
        ("logs, MB", f"{1024 * log_gigabytes:.0f}"),
        *((f"dollars: {name}", f"{number:.4f}") for name, number in dollars.items()),
        ("**dollars in all**", f"**{sum(dollars.values()):.2f}**"),
    ):
        table.row(name, number)


def message(shard: tuple[OrgUnit, ...], run: Simulated) -> Shard:
    """Make the message of a shard."""
    return Shard(
        version=1,
        run_id="20261101T010000Z-monthly-1f0c2a9b",
        planned_by="00000000-0000-0000-0000-000000000000",
        event=EVENT,
        number=len(run.shards),
        of=len(run.shards),
        ledger_lines=max(run.sizes),
        org_units=tuple(org_unit.code for org_unit in shard),
        steps=(MonthStep(as_of=AS_OF),),
    )


def measured(arguments: argparse.Namespace) -> None:
    """Compute a sample in one piece and in shards, and print what dividing costs."""
    size = argparse.Namespace(
        stores=arguments.sample_stores, items=arguments.sample_items, movements=arguments.sample_movements
    )
    with sample(arguments.engine, size) as (url, summary):
        address = parse_database_address(url)
        lines = summary.stock_lines + summary.movements
        table = Table("a sample, measured", "shards:", "to plan:", "a shard:", "longest:", "values:")
        points: list[tuple[int, float]] = []
        for shards in (1, 8, 40):
            start = time.perf_counter()
            job = ComputeJob(
                settings=settings(),
                calendar=CALENDAR,
                open_database=lambda: open_source(address, calendar=CALENDAR),
                send=lambda _: None,
                lines_per_invocation=math.ceil(lines / shards),
            )
            planned = job.run(whole_run(EVENT, AS_OF))
            planning = time.perf_counter() - start
            took, values = [], planned.values
            for shard in planned.to_follow:
                start = time.perf_counter()
                values += job.run(shard).values
                took.append(time.perf_counter() - start)
                points.append((shard.ledger_lines, took[-1]))
            table.row(
                f"{arguments.engine}, {lines:,} lines",
                f"{max(planned.shards, 1)}",
                f"{planning:.1f} s" if took else "",
                f"{statistics.mean(took or [planning]):.2f} s",
                f"{max(took, default=planning):.2f} s",
                f"{values:,}",
            )
    line, fixed = statistics.linear_regression(*zip(*points, strict=True))
    print(
        f"\nA shard takes {line * 1e6:.1f} microseconds for each line of its own, and {fixed / lines * 1e6:.2f} for each "
        "line of the whole database."
    )


def main() -> None:
    """Simulate, measure, and print both tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--stores", type=int, default=10_000)
    add("--lines-per-store", type=float, default=NATION_LINES / NATION_STORES, help="on average (a nation's)")
    add(
        "--spread",
        type=float,
        default=1.0,
        help="of the stores' sizes: the standard deviation of the logarithm",
    )
    add(
        "--lines-per-invocation",
        type=int,
        default=2_000_000,
        help="as the template's parameter (default: its own)",
    )
    add("--concurrency", type=int, default=4, help="as the template's parameter (default: its own)")
    add(
        "--seconds-per-line",
        type=float,
        default=SECONDS_OF_A_LINE,
        help=f"of a shard's own (default: {SECONDS_OF_A_LINE}, as measured)",
    )
    add(
        "--seconds-per-line-of-all",
        type=float,
        default=SECONDS_OF_A_LINE_OF_ALL,
        help="of the whole database, which each shard has the server read through once for the first movements "
        f"(default: {SECONDS_OF_A_LINE_OF_ALL}, as measured)",
    )
    add(
        "--seconds-per-shard",
        type=float,
        default=5.0,
        help="besides: the start of the function, the settings, the catalogue",
    )
    add(
        "--values-per-second",
        type=float,
        default=2_000.0,
        help="that one push brings to DHIS2 (benchmarks/push.py, as a real server)",
    )
    add("--engine", choices=("sqlite", "postgresql"), default="sqlite", help="of the measurement")
    add("--sample-stores", type=int, default=40)
    add("--sample-items", type=int, default=100)
    add("--sample-movements", type=int, default=100_000)
    arguments = parser.parse_args()
    report(simulate(arguments), arguments)
    print()
    measured(arguments)


if __name__ == "__main__":
    main()
