"""What a cold start loads."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATABASE_DRIVERS = {"sqlalchemy", "psycopg"}


def loaded_by(function: str) -> set[str]:
    program = (
        "import runpy, sys\n"
        f"runpy.run_path('functions/{function}/app.py')\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    environment = {"POWERTOOLS_METRICS_NAMESPACE": "test", "POWERTOOLS_SERVICE_NAME": "test"}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("function", ["push", "test_connection"])
def test_what_does_not_read_mSupply_does_not_load_a_database_driver(function: str) -> None:  # noqa: N802 its name
    assert not loaded_by(function) & DATABASE_DRIVERS


def test_compute_does() -> None:
    assert "sqlalchemy" in loaded_by("compute")


def test_compute_does_not_load_the_dhis2_client() -> None:
    assert "requests" not in loaded_by("compute")
