"""What a cold start loads."""

import re
import subprocess
import sys
from functools import cache

import pytest

from tests.support.paths import PROJECT

FUNCTIONS = ("compute", "push", "test_connection", "watchdog")
DATABASE_DRIVERS = {"sqlalchemy", "psycopg"}


@cache
def loaded_by(function: str) -> set[str]:
    """Return the modules that are loaded when the function's own is."""
    program = f"import runpy, sys\nrunpy.run_path('functions/{function}/app.py')\nprint(*sys.modules)"
    environment = {"POWERTOOLS_METRICS_NAMESPACE": "test", "POWERTOOLS_SERVICE_NAME": "test"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("function", ["push", "test_connection", "watchdog"])
def test_no_needless_driver(function: str) -> None:
    assert not loaded_by(function) & DATABASE_DRIVERS


@pytest.mark.parametrize("function", ["push", "test_connection"])
def test_run_plan_in_compute_only(function: str) -> None:
    planning = {"msupply_dhis2.compute.event", "msupply_dhis2.compute.sharding", "msupply_dhis2.source"}
    assert planning <= loaded_by("compute")
    assert not loaded_by(function) & planning


def test_compute_runs_alone() -> None:
    assert "sqlalchemy" in loaded_by("compute")


def test_compute_without_dhis2_client() -> None:
    assert "requests" not in loaded_by("compute")


def test_compute_explains_when_asked() -> None:
    assert not [module for module in loaded_by("compute") if module.startswith("msupply_dhis2.explain")]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_event_classes(function: str) -> None:
    assert "aws_lambda_powertools" in loaded_by(function)
    assert "aws_lambda_powertools.utilities.data_classes" not in loaded_by(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_developer_tools(function: str) -> None:
    assert not loaded_by(function) & {"cli", "sandbox", "rich", "cryptography", "moto"}


def test_tables_without_settings() -> None:
    program = (
        "import sys, msupply_dhis2.aws.dynamodb\nprint(*(name for name in sys.modules if 'msupply' in name))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == {
        "msupply_dhis2",
        "msupply_dhis2.aws",
        "msupply_dhis2.aws.dynamodb",
        "msupply_dhis2.aws.errors",
        "msupply_dhis2.errors",
    }


EXPRESSIONS = re.compile(
    r"UpdateExpression|\bConditionExpression|\b(put|update|delete)_item\b|batch_write|transact_write"
)


def test_one_place_for_dynamodb() -> None:
    layer = PROJECT / "layers/common/msupply_dhis2"
    found = {
        str(file.relative_to(layer)) for file in layer.rglob("*.py") if EXPRESSIONS.search(file.read_text())
    }
    assert found == {"aws/dynamodb.py"}


def test_botocore_errors() -> None:
    layer = PROJECT / "layers/common/msupply_dhis2"
    found = {
        str(file.relative_to(layer))
        for file in layer.rglob("*.py")
        if "botocore.exceptions" in file.read_text()
    }
    assert found <= {"aws/errors.py", "handlers/orders.py"}
