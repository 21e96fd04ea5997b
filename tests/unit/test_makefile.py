"""The commands that the README promises, and the run-time packages that the layer is built from."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from local.tools import uv

PROJECT = Path(__file__).parents[2]
TARGETS = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)


def make(*arguments: str, **environment: str) -> str:
    # Not what the make that runs these tests was told.
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "STACK"}
    }
    finished = subprocess.run(
        ["make", "--no-print-directory", *arguments],  # noqa: S607 - whichever make there is
        cwd=PROJECT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


def test_help_names_every_target_with_what_it_does() -> None:
    described = re.findall(r"^  make ([a-z-]+) +\S", make("help"), flags=re.MULTILINE)
    assert sorted(described) == sorted(TARGETS)


def test_help_is_what_make_alone_shows() -> None:
    assert make() == make("help")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists_for_make_too(target: str) -> None:
    make("--dry-run", target)


def test_every_make_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)\b", (PROJECT / "README.md").read_text()))
    commands = {name for name in named if f"`make {name}" in (PROJECT / "README.md").read_text()}
    assert commands
    assert commands <= set(TARGETS)


def test_the_stack_s_name_reaches_every_command_that_needs_it() -> None:
    for target in ("credentials", "settings", "test-connection", "push", "logs"):
        assert '--stack "$STACK"' in make("--dry-run", target)
    for target in ("deploy", "delete"):
        assert '--stack-name "$STACK"' in make("--dry-run", target)


def test_an_event_reaches_the_command_unharmed_by_the_shell() -> None:
    event = '{"manual": true, "stores": ["O\'Brien\'s; echo clinic"]}'
    commands = make("--dry-run", "push", EVENT=event)
    assert '--event "$EVENT"' in commands
    assert "clinic" not in commands


def test_a_uv_that_does_not_run_is_not_taken(tmp_path: Path) -> None:
    shim = tmp_path / "uv"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    commands = make("--dry-run", "setup", PATH=f"{tmp_path}{os.pathsep}{os.defpath}")
    assert ".tools/uv/bin/uv sync" in commands


def test_a_uv_that_runs_is_taken(tmp_path: Path) -> None:
    uv_of_the_machine = tmp_path / "uv"
    uv_of_the_machine.write_text("#!/bin/sh\necho uv 1.2.3\n")
    uv_of_the_machine.chmod(0o755)
    commands = make("--dry-run", "setup", PATH=f"{tmp_path}{os.pathsep}{os.defpath}")
    assert f"{uv_of_the_machine} sync" in commands


def test_the_layer_s_requirements_are_those_of_the_lock_file() -> None:
    exported = subprocess.run(
        [
            uv(),
            "export",
            "--quiet",
            "--locked",
            "--no-dev",
            "--no-emit-project",
            "--no-header",
            "--no-annotate",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (PROJECT / "layers/common/requirements.txt").read_text() == exported.stdout


def test_every_requirement_of_the_layer_is_pinned_and_checked_by_its_hash() -> None:
    lines = (PROJECT / "layers/common/requirements.txt").read_text()
    for requirement in re.split(r"\n(?=\S)", lines.strip()):
        assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_continuous_integration_runs_the_readme_s_commands() -> None:
    script = (PROJECT / ".ci/run").read_text()
    assert "\nset -euo pipefail\n" in script
    assert re.findall(r"^make (\S+)$", script, flags=re.MULTILINE) == ["lint", "test"]
    assert os.access(PROJECT / ".ci/run", os.X_OK)
