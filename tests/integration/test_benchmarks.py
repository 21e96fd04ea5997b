"""The benchmarks with tiny sizes: what they print, not how fast anything is."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
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


def test_one_command_reports_every_step_of_compute_and_its_ratio(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    sizes = ("--stores", "3", "--items", "5", "--movements", "300", "--repeat", "1")
    ran = bench("compute", *sizes, "--report", str(report))
    assert ran.returncode == 0, ran.stderr
    assert report.read_text() == ran.stdout
    assert "benchmarks/compute.py --stores 3 --items 5 --movements 300 --repeat 1" in ran.stdout
    assert "Python 3.13" in ran.stdout
    assert str(ROOT) not in ran.stdout
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


def test_every_function_package_and_size_stands_in_the_report_of_cold_starts() -> None:
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
    # The limit that the layer was given: 20 MB.
    assert 0 < float(whole["with bytecode, kB"].replace(",", "")) < 20_000


def test_what_only_changes_saves_is_counted_over_a_year_and_what_it_remembers_over_a_nation() -> None:
    sizes = ("--year-stores", "2", "--year-items", "4", "--year-days", "100", "--nation-items", "9")
    script = str(ROOT / "benchmarks" / "only_changes.py")
    ran = subprocess.run(
        [sys.executable, script, *sizes, "--nation-days", "3"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    year = rows(ran.stdout, "| a year of runs")
    runs = {row["a year of runs"]: row for row in year}
    # Each day's own label is new to DHIS2, so there is nothing to leave out.
    assert runs["daily, label YYYYMMDD"]["sent"] == runs["daily, label YYYYMMDD"]["computed"]
    assert 0 < float(runs["daily, label YYYYMM"]["ratio"]) < 1
    assert {row["runs"] for row in year} == {"100", "3"}
    nation = {row["a nation of 1,289 stores"]: row for row in rows(ran.stdout, "| a nation")}
    assert float(nation["bytes for each"]["daily, month to date"]) > 0
    limits = rows(ran.stdout, "| an org unit and period")
    assert {row["remembered"] for row in limits} == {"yes"}
    assert [int(row["values"].replace(",", "")) for row in limits[3:]] == [
        times * int(limits[0]["values"]) for times in (2, 5, 10)
    ]


def test_a_benchmark_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    ran = bench("comptue")
    assert ran.returncode == 2
    assert "There is no benchmark comptue." in ran.stderr
    assert "cold_start, compute" in ran.stderr
