"""The benchmarks with tiny sizes: what they print, not how fast anything is."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.costs import Units, on_the_line, parsed
from benchmarks.prices import item_bytes, read_units, sqs_requests, write_units
from tests.support.paths import PROJECT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def rows(report: str, heading: str) -> list[dict[str, str]]:
    """Read the first table below a heading."""
    below = report[report.index(heading) :]
    table = below[below.index("|") :].partition("\n\n")[0].splitlines()
    columns, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    return [dict(zip(columns, cells, strict=True)) for cells in body]


@pytest.mark.slow
def test_steps_of_compute(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    sizes = ("--stores", "3", "--items", "5", "--movements", "300", "--repeat", "1")
    ran = bench("compute", *sizes, "--report", str(report))
    assert ran.returncode == 0, ran.stderr
    assert report.read_text() == ran.stdout
    assert "benchmarks/compute.py --stores 3 --items 5 --movements 300 --repeat 1" in ran.stdout
    assert "Python 3.13" in ran.stdout
    assert str(PROJECT) not in ran.stdout
    measured = rows(ran.stdout, "## compute")
    steps = [(row["database"], row["step"]) for row in measured]
    for database in ("sqlite", "postgresql"):
        assert {(database, "fetch"), (database, "metrics"), (database, "whole job")} <= set(steps)
    assert all(float(row["ratio"]) > 0 and float(row["peak MiB"]) > 0 for row in measured)
    assert all(float(row["ratio"]) == 1 for row in measured if row["step"] == "fetch")
    # The ratios of all benchmarks stand once more at the top.
    assert [float(row["ratio"]) for row in rows(ran.stdout, "# Benchmarks")] == [
        float(row["ratio"]) for row in measured
    ]


@pytest.mark.slow
def test_customers() -> None:
    script = str(PROJECT / "benchmarks" / "customers.py")
    sizes = ("--customers", "3", "--items", "5", "--stores", "2")
    ran = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    measured = rows(ran.stdout, "| database")
    for database in ("sqlite", "postgresql"):
        steps = {row["step"]: row["what"] for row in measured if row["database"] == database}
        assert steps["stores only"].endswith(" of 2 stores and 0 customers")
        assert steps["customers"].endswith(" of 2 stores and 3 customers")
        assert steps["supplied"].endswith(" of 2 stores and 3 customers")
    assert all(float(row["peak MiB"]) > 0 for row in measured)
    # A year of forms: twelve months of five items.
    assert "3 customers, 5 items, 180 lines of reports" in ran.stderr


@pytest.mark.slow
def test_explain() -> None:
    script = str(PROJECT / "benchmarks" / "explain.py")
    sizes = ("--stores", "3", "--items", "5", "--movements", "300")
    ran = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    measured = rows(ran.stdout, "| database")
    assert {row["database"] for row in measured} == {"sqlite", "postgresql"}
    assert all(0 < float(row["seconds, median"]) <= float(row["seconds, most"]) for row in measured)


@pytest.mark.slow
def test_cold_starts() -> None:
    ran = bench("cold_start", "--repeat", "1", "--stores", "3")
    assert ran.returncode == 0, ran.stderr
    # A size that this benchmark does not know is not handed to it.
    assert "--stores" not in ran.stdout
    measured = rows(ran.stdout, "## cold_start")
    assert [(row["function"], row["layer"]) for row in measured] == [
        (function, layer)
        for function in ("compute", "push", "test connection")
        for layer in ("sources", "bytecode")
    ]
    assert all(float(row["import, s"]) > 0 and float(row["ratio"]) > 0 for row in measured)
    shares = {row["package"]: row for row in rows(ran.stdout, "own share")}
    assert {"sqlalchemy", "pydantic", "botocore", "msupply_dhis2", "Python's own modules"} <= set(shares)
    assert shares["sqlalchemy"]["push, ms"] == "0"
    (whole,) = (row for row in rows(ran.stdout, "zipped") if row["package"] == "the whole layer")
    # The limit that the layer was given: 18 MB.
    assert 0 < float(whole["with bytecode, kB"].replace(",", "")) < 18_000


@pytest.mark.slow
def test_only_changes() -> None:
    sizes = ("--year-stores", "2", "--year-items", "4", "--year-days", "60", "--nation-items", "9")
    script = str(PROJECT / "benchmarks" / "only_changes.py")
    ran = subprocess.run(
        [sys.executable, script, *sizes, "--nation-days", "3"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    year = rows(ran.stdout, "| a year of runs")
    runs = {row["a year of runs"]: row for row in year}
    # Each day's own label is new to DHIS2, so there is nothing to leave out.
    assert runs["daily, label YYYYMMDD"]["sent"] == runs["daily, label YYYYMMDD"]["computed"]
    assert 0 < float(runs["daily, label YYYYMM"]["ratio"]) < 1
    assert {row["runs"] for row in year} == {"60", "2"}
    nation = {row["a nation of 1,289 stores"]: row for row in rows(ran.stdout, "| a nation")}
    assert float(nation["bytes for each"]["daily, month to date"]) > 0
    limits = rows(ran.stdout, "| an org unit and period")
    assert {row["remembered"] for row in limits} == {"yes"}
    assert [int(row["values"].replace(",", "")) for row in limits[3:]] == [
        times * int(limits[0]["values"]) for times in (2, 5, 10)
    ]


@pytest.mark.slow
def test_monthly_cost() -> None:
    script = str(PROJECT / "benchmarks" / "costs.py")
    sizes = ("--sizes", "3", "--measured", "3", "--items", "20", "--days", "2", "--refused", "10")
    ran = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    bill = {row.pop("3 stores"): row for row in rows(ran.stdout, "| 3 stores")}

    def number(name: str, column: str) -> float:
        return float(bill[name][column].strip("*").replace(",", "") or 0)

    totals = ("**a month**", "the same, less what is free", "of that, what sends nothing")
    for sent in ("all sent", "only changes"):
        dollars = [number(name, f"dollars, {sent}") for name in bill if name not in totals]
        total, charged, fixed = (number(name, f"dollars, {sent}") for name in totals)
        assert sum(dollars) == pytest.approx(total, abs=0.01)
        # To a cent, which so little need not come to.
        assert 0 < charged < fixed <= total
        runs = 30 + 1
        probes, watchdogs, tests = 30 * 24 * 4, 30, 2
        batches = number("batches", sent)
        assert batches >= runs
        assert number("invocations", sent) == probes + watchdogs + tests + runs + batches
        # Each batch is sent, received and deleted, some of them in one call; the watchdog looks at dead letters.
        assert 2 * batches < number("messages on the queues", sent) < 4 * batches + 3 * watchdogs
    # Two items of 20 have no data element in DHIS2.
    computed = number("values", "all sent")
    assert number("values to DHIS2", "all sent") == pytest.approx(0.9 * computed, rel=0.05)
    assert number("values to DHIS2", "only changes") < number("values to DHIS2", "all sent")
    # Where only what changed is sent, what is on its way is remembered too.
    writing = "writing to DynamoDB"
    assert number(writing, "only changes") > number(writing, "all sent")
    events = rows(ran.stdout, "| counted of 3 stores")
    counted = {row["counted of 3 stores, all sent"]: row for row in events}
    assert counted["ssm:GetParameter"]["the monthly run"] == "2"


@pytest.mark.slow
def test_calls_of_a_batch() -> None:
    script = str(PROJECT / "benchmarks" / "batch.py")
    sizes = ("--stores", "3", "--items", "20")
    ran = subprocess.run([sys.executable, script, *sizes], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    counted = {
        row.pop("one batch"): [float(cell.strip("*")) for cell in row.values()]
        for row in rows(ran.stdout, "|")
    }
    # One batch in all; push is invoked once for it, and once more when it puts the next one back.
    assert counted["invocations"] == [1, 1, 1]
    assert counted["`sqs:SendMessageBatch`"] == [1, 0, 0]
    assert counted["`sqs:ChangeMessageVisibility`"] == [0, 0, 1]
    # A message that waits is neither looked up nor written down.
    assert counted["write units"][2] == 0
    assert counted["read units"][2] == 1
    assert all(dollars > 0 for dollars in counted["**dollars of a million**"])


def test_dynamodb_item_size() -> None:
    # The example of https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    assert item_bytes({"shirt-color": {"S": "R"}, "shirt-size": {"S": "M"}}) == 23
    assert item_bytes({"n": {"N": "-1234"}}) == 1 + 2 + 1 + 1
    assert item_bytes({"b": {"B": b"12345"}}) == item_bytes({"b": {"B": "MTIzNDU="}}) == 6
    assert item_bytes({"m": {"M": {"a": {"BOOL": True}}}}) == 1 + 3 + 1 + 1 + 1
    assert [write_units(size) for size in (0, 1024, 1025)] == [1, 1, 2]
    assert read_units(4097, consistent=False) == 1
    assert [sqs_requests(size) for size in (10, 65_536, 65_537)] == [1, 1, 2]


def test_country_by_line() -> None:
    samples: dict[int, Units] = {
        4: defaultdict(float, {"batches": 10, "invocations": 1}),
        16: defaultdict(float, {"batches": 34, "invocations": 1}),
    }
    assert on_the_line(16, samples)["batches"] == 34
    assert on_the_line(1_004, samples) == {"batches": 2_010, "invocations": 1}


@pytest.mark.slow
def test_unknown_benchmark() -> None:
    ran = bench("comptue")
    assert ran.returncode == 2
    assert "There is no benchmark comptue." in ran.stderr
    assert "cold_start, compute" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    ["--measured 5 --sizes 10", "--measured 5 --sizes 5 10", "--measured 7 7", "--measured 4 16 64"],
)
def test_month_needs_two_sizes(arguments: str) -> None:
    with pytest.raises(SystemExit):
        parsed(arguments.split())


@pytest.mark.parametrize(
    "arguments",
    ["", "--measured 5 --sizes 5", "--measured 4 16 --sizes 4 16 200", "--measured 4 16 --sizes 16"],
)
def test_month_on_the_line(arguments: str) -> None:
    assert {*parsed(arguments.split()).measured} <= {4, 5, 16}
