"""What a cold start costs: importing each function as Lambda does, each package's share, and the layer's size.

    uv run python benchmarks/cold_start.py [--repeat 5]

A layer is made as ``make build`` makes it, and each function is imported by a new interpreter that finds that layer,
boto3 (which Lambda's runtime has) and nothing else. It may write no bytecode, as it may not on Lambda. *Sources* is
the layer as ``sam build`` leaves it, *bytecode* the one that is deployed. *First use* is what the first invocation
adds: clients of AWS, the settings, the session with DHIS2 or the database's engine; nothing is connected to.

The quickest of the runs counts, and the median stands beside it. The processor's seconds leave out what other programs
took of the machine meanwhile; the ratio is of these.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from compileall import compile_dir
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import boto3  # noqa: E402 - after the path is set

from benchmarks.measure import Table  # noqa: E402 - as above
from sandbox.layer import finish  # noqa: E402 - as above
from sandbox.tools import INTERPRETER, uv  # noqa: E402 - as above

FUNCTIONS = ("compute", "push", "test_connection")
IN_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "six.py")
"""What of boto3 the layer lacks, because Lambda's runtime has it."""

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "POWERTOOLS_METRICS_NAMESPACE": "benchmark",
    "POWERTOOLS_SERVICE_NAME": "benchmark",
}

SETTINGS = (ROOT / "settings.yaml").read_text()

_COMMON_USE = f"""
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.aws import clients
parse_settings({SETTINGS!r})
clients.ssm(), clients.secretsmanager(), clients.table("table")
"""
FIRST_USE = {
    "compute": f"""{_COMMON_USE}
import sqlalchemy
clients.sqs()
sqlalchemy.create_engine("postgresql+psycopg://127.0.0.1/omsupply")
""",
    "push": f"""{_COMMON_USE}
import requests
requests.Session()
""",
    "test_connection": f"""{_COMMON_USE}
import requests
clients.lambda_()
requests.Session()
""",
}
"""What the first invocation does before it waits for anybody."""

SMALLEST_SHARE = 0.01
_IMPORT_TIME = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long something took, and how long of it the processor worked for it."""

    passed: float
    processor: float


@dataclass(frozen=True, slots=True)
class Start:
    """How long a function's import took, and that with its first use."""

    imported: Seconds
    used: Seconds


def main() -> None:
    """Measure, and print three tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="runs of each measurement (default: 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = folder / "sources" / "python"
        bytecode = folder / "bytecode" / "python"
        runtime = make_runtime(folder / "runtime")
        make_layer(sources)
        shutil.copytree(sources, bytecode)
        finish(bytecode)
        print_times({"sources": sources, "bytecode": bytecode}, runtime, options.repeat)
        print("\nEach package's own share of an import, with bytecode:\n")
        print_shares(bytecode, runtime, options.repeat)
        print("\nThe layer, zipped:\n")
        print_sizes(sources, bytecode)


def make_layer(layer: Path) -> None:
    """Install what the layer's requirements name, as ``sam build`` does, and our own package."""
    requirements = ROOT / "layers" / "common" / "requirements.txt"
    command = [
        *(uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--python", sys.executable, "--python-platform", f"{platform.machine()}-manylinux_2_28"),
        *("--target", str(layer), "--requirement", str(requirements)),
    ]
    subprocess.run(command, check=True)  # noqa: S603 our own command
    shutil.copytree(
        ROOT / "layers" / "common" / "msupply_dhis2",
        layer / "msupply_dhis2",
        ignore=shutil.ignore_patterns("__pycache__"),
    )


def make_runtime(folder: Path) -> Path:
    """Make the part of Lambda's runtime that is used: boto3, with bytecode."""
    installed = Path(boto3.__file__).parents[1]
    folder.mkdir()
    for name in IN_THE_RUNTIME:
        if (installed / name).is_dir():
            # Files as links in folders of its own, because where it is installed it may have no bytecode.
            shutil.copytree(installed / name, folder / name, copy_function=os.symlink)
        else:
            (folder / name).symlink_to(installed / name)
    compile_dir(folder, quiet=1)
    return folder


def print_times(layers: dict[str, Path], runtime: Path, repeat: int) -> None:
    """Print how long each function's import and first use take, with each kind of layer."""
    table = Table(
        "function",
        "layer",
        "import, s:",
        "median, s:",
        "processor, s:",
        "with first use, s:",
        "its processor, s:",
        "ratio:",
    )
    for function in FUNCTIONS:
        reference = None
        for kind, layer in layers.items():
            started = [seconds(function, layer, runtime, FIRST_USE[function]) for _ in range(repeat)]
            imported, used = [run.imported for run in started], [run.used for run in started]
            of_processor = min(run.processor for run in used)
            reference = reference or of_processor
            shown = (
                min(run.passed for run in imported),
                statistics.median(run.passed for run in imported),
                min(run.processor for run in imported),
                min(run.passed for run in used),
                of_processor,
                of_processor / reference,
            )
            table.row(function.replace("_", " "), kind, *(f"{value:.2f}" for value in shown))


def print_shares(layer: Path, runtime: Path, repeat: int) -> None:
    """Print what of an import is whose, in thousandths of a second."""
    shares = {function: quickest_shares(function, layer, runtime, repeat) for function in FUNCTIONS}
    totals = {function: sum(own.values()) for function, own in shares.items()}
    shown = {
        package
        for function, own in shares.items()
        for package, share in own.items()
        if package != "Python" and share >= SMALLEST_SHARE * totals[function]
    }
    table = Table("package", *(f"{function.replace('_', ' ')}, ms:" for function in FUNCTIONS))
    for package in sorted(shown, key=lambda package: -max(own[package] for own in shares.values())):
        table.row(package, *(f"{shares[function][package]:.0f}" for function in FUNCTIONS))
    table.row("Python's own modules", *(f"{shares[function]['Python']:.0f}" for function in FUNCTIONS))
    table.row(
        "all others",
        *(
            f"{totals[function] - sum(shares[function][package] for package in (*shown, 'Python')):.0f}"
            for function in FUNCTIONS
        ),
    )


def print_sizes(sources: Path, bytecode: Path) -> None:
    """Print the zipped size of the layer, and each package's share of it."""
    packages = sorted({path.name for path in sources.iterdir() if not path.name.endswith(".dist-info")})
    sizes = {
        name: (zipped([sources / name], sources), zipped([bytecode / name], bytecode)) for name in packages
    }
    table = Table("package", "sources, kB:", "with bytecode, kB:")
    for name in sorted(packages, key=lambda name: -sizes[name][1])[:10]:
        table.row(name, *(f"{size / 1000:,.0f}" for size in sizes[name]))
    whole = [zipped(layer.iterdir(), layer) for layer in (sources, bytecode)]
    table.row("the whole layer", *(f"{size / 1000:,.0f}" for size in whole))


def seconds(function: str, layer: Path, runtime: Path, first_use: str) -> Start:
    """Import a function in a new interpreter, and use it as its first invocation does."""
    say = "print(time.perf_counter() - start[0], time.process_time() - start[1])"
    program = (
        "import time\nstart = time.perf_counter(), time.process_time()\n"
        f"import app\n{say}\n{first_use}\n{say}"
    )
    said = interpret(function, layer, runtime, "-c", program).stdout.splitlines()
    imported, used = (Seconds(*map(float, line.split())) for line in said)
    return Start(imported, used)


def quickest_shares(function: str, layer: Path, runtime: Path, repeat: int) -> Counter[str]:
    """Return how many thousandths of a second each package took for itself, in the quickest of the imports."""
    third_party = {path.name.partition(".")[0] for folder in (layer, runtime) for path in folder.iterdir()}
    runs = []
    for _ in range(repeat):
        own: Counter[str] = Counter()
        ran = interpret(function, layer, runtime, "-X", "importtime", "-c", "import app")
        # What the interpreter loads before it begins is not ours.
        for microseconds, module in _IMPORT_TIME.findall(ran.stderr.rpartition("| site\n")[2]):
            package = module.partition(".")[0]
            name = "functions" if package == "app" else package if package in third_party else "Python"
            own[name] += int(microseconds)
        runs.append(own)
    quickest = min(runs, key=lambda own: own.total())
    return Counter({name: round(share / 1000) for name, share in quickest.items()})


def interpret(function: str, layer: Path, runtime: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter as Lambda does: in the function's folder, with layer and runtime, writing nothing."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (layer, runtime)))}
    # -S: without the site-packages of this machine; -B: no bytecode is written.
    return subprocess.run(  # noqa: S603 our own command
        [INTERPRETER, "-S", "-B", *arguments],
        cwd=ROOT / "functions" / function,
        env=ENVIRONMENT | paths,
        capture_output=True,
        text=True,
        check=True,
    )


def zipped(paths: Iterable[Path], base: Path) -> int:
    """Return how many bytes files and folders take in a zip file."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                for member in (path, *path.rglob("*")):
                    if member.is_file():
                        archive.write(member, member.relative_to(base))
        return file.tell()


if __name__ == "__main__":
    main()
