"""The command ``msupply-dhis2`` as a whole: its help, its exit codes, and what a slow machine waits for."""

import ast
import subprocess
import sys

import pytest

from cli import local
from cli.__main__ import app, main
from cli.options import BASES, Format
from cli.output import write_record
from msupply_dhis2.compute.event import BasisChoice
from tests.support.paths import PROJECT

HERE = ("--settings", "settings.yaml", "--source", "sqlite:///sample.sqlite")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["preview", "--help"], ["settings", "upload", "--help"], ["logs", "--help"]]
)
def test_help_is_fast(arguments: list[str]) -> None:
    program = (
        f"import sys\nfrom cli.__main__ import main\nmain({arguments})\nprint(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("Usage: msupply-dhis2")
    loaded = set(ran.stderr.split())
    assert "click" in loaded
    assert not loaded & {"boto3", "pydantic", "requests", "rich", "sqlalchemy", "yaml"}


def test_portable() -> None:
    only_posix = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
    for file in (PROJECT / "cli").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not names & only_posix, file
        assert not any(name.startswith("sandbox") for name in names), file


def test_help_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in app.commands.items():
        assert (f"  {name}  " in shown) is not command.hidden
        assert f"{command.short_help}\n" in shown or command.hidden
    assert "Exit codes:" in shown


def test_bases() -> None:
    assert set(BASES) == set(BasisChoice)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Usage: msupply-dhis2"),
        (["pusch"], "No such command 'pusch'"),
        (
            ["preview"],
            "Give --settings and --source, or name a deployed stack, such as --stack msupply-dhis2.",
        ),
        (["push", *HERE[:2]], "Give --source, or name a deployed stack"),
        (["push", *HERE, "--stack", "malawi"], "Give --settings, --source or --stack, not both."),
        (
            ["test-connection", "--stack", "malawi", "--timezone", "UTC"],
            "Give --timezone or --stack, not both.",
        ),
        (["test-connection", "--stack", "malawi", "--as-of", "2026-10-31"], "--as-of without --stack."),
        (["preview", *HERE, "--format", "xml"], "'xml' is not one of 'table', 'csv', 'json'"),
        (["preview", *HERE, "--basis", "today"], "'today' is not one of 'current_day', 'as_in_settings'"),
        (
            ["settings", "upload", "--stack", "a", "--parameter", "/b"],
            "Give --parameter or --stack, not both.",
        ),
    ],
)
def test_usage_error(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err


def test_table_without_heading(capsys: pytest.CaptureFixture[str]) -> None:
    write_record({"run_id": "20261031T000000Z-manual-6ed28b8b", "stored": 1}, Format.TABLE)
    _, first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "│ run_id │ 20261031T000000Z-manual-6ed28b8b │"
    assert second.startswith("│ stored │ 1 ")


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "preview", interrupted)
    assert main(["preview", *HERE]) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"
