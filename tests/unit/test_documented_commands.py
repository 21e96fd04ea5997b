"""Every command that README and docs show is one: its program, its options and its event are those that there are."""

import argparse
import json
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import botocore.session
import click
import pytest
from botocore import xform_name

from cli.__main__ import app
from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.errors import MsupplyDhis2Error
from sandbox.tools import sam
from tests.support.paths import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"\$\(?([A-Z_0-9]+)\b|\b([A-Z_0-9]+)=", MAKEFILE))
OURS = {"make", "uv", "msupply-dhis2", "python", "python3", "aws", "sam"}
OF_EVERY_MACHINE = {".ci/run", "cd", "cp", "echo", "git", "gunzip", "pip", "sed", "uvx"}
AWS_GLOBAL = {"--cli-binary-format", "--cli-read-timeout", "--region"}
AWS_CUSTOM = {
    ("s3", "cp"): set[str](),
    ("s3", "rb"): {"--force"},
    ("logs", "tail"): {"--since", "--follow", "--filter-pattern"},
}
"""Commands of the AWS CLI that are no operation of a service."""


class ParsedError(Exception):
    """A program has understood its command line."""


def lines_of(page: str) -> Iterator[str]:
    """Yield each line of a shell in a page: of its blocks, and in its sentences and tables."""
    block = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
    for language, text in block.findall(page):
        for line in text.splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")
            elif language in {"", "sh"} and line.partition(" ")[0] in OURS:
                yield line
    for code in re.findall(r"`([^`\n]+)`", block.sub("", page)):
        if code.partition(" ")[0] in OURS and " " in code:
            yield code.replace(r"\|", "|")


def commands_of(line: str) -> Iterator[list[str]]:
    """Yield the commands of a line, without what leads their input and output elsewhere."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    for word in words:
        if set(word) <= set("&|;"):
            yield command
            command = []
        else:
            command.append(word)
    if command:
        yield command[: command.index(">")] if ">" in command else command


LINES = {
    line: None
    for page in PAGES
    for line in lines_of(page.read_text(encoding="utf-8"))
    # Where words are left out, there is nothing to be parsed.
    if " …" not in line and "COMMAND" not in line
}
COMMANDS = {shlex.join(command): command for line in LINES for command in commands_of(line)}


def require_event(text: str) -> None:
    if "…" not in text and "shard" not in (event := json.loads(text)):
        parse_compute_event(event)


def check_make(*words: str) -> None:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    assert {word for word in words if "=" not in word} <= TARGETS
    assert set(given) <= {name for names in VARIABLES for name in names}
    require_event(given.get("EVENT", '{"manual": true}'))


def check_cli(*words: str) -> None:
    if not words:
        return
    command: click.Command = app
    rest = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None
        command = found
    context = command.make_context(command.name, rest)
    require_event(context.params.get("event") or '{"manual": true}')


def check_python(*words: str) -> None:
    if words[0] == "-c":
        compile(words[1], "docs", "exec")
        return
    is_module = words[0] == "-m"
    given = list(words[2 if is_module else 1 :])
    file = PROJECT / (f"{words[1].replace('.', '/')}.py" if is_module else words[0])
    if is_module and not file.exists():
        file = file.with_suffix("") / "__main__.py"
    if not given or "argparse" not in file.read_text(encoding="utf-8"):
        return
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, *_: object) -> None:
        if given != ["--help"]:
            parse(parser, given)
        raise ParsedError

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # The stand-in reads it while it parses.
        Path(folder, "org-units.json").write_text("{}", encoding="utf-8")
        patch.chdir(folder)
        patch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        with pytest.raises(ParsedError):
            runpy.run_path(str(file), run_name="__main__")


def check_aws(service: str, operation: str, *words: str) -> None:
    options = {word for word in words if word.startswith("--")} - AWS_GLOBAL
    if (service, operation) in AWS_CUSTOM:
        assert options <= AWS_CUSTOM[service, operation]
        return
    model = botocore.session.get_session().get_service_model(service)
    (name,) = (name for name in model.operation_names if xform_name(name, "-") == operation)
    shape = model.operation_model(name).input_shape
    assert shape is not None
    assert options <= {f"--{xform_name(member, '-')}" for member in shape.members} | {"--no-paginate"}
    assert {f"--{xform_name(member, '-')}" for member in shape.required_members} <= options
    if "--payload" in words:
        payload = words[words.index("--payload") + 1]
        if words[words.index("--function-name") + 1].endswith("-compute"):
            require_event(payload)
        else:
            json.loads(payload)


CHECKS: dict[str, Callable[..., None]] = {
    "make": check_make,
    "msupply-dhis2": check_cli,
    "python": check_python,
    "python3": check_python,
    "aws": check_aws,
}


def test_every_kind() -> None:
    assert {command[0] for command in COMMANDS.values()} >= OURS - {"python"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_exists(command: list[str]) -> None:
    if command[:2] == ["uv", "run"]:
        command = command[2:]
    program, *words = command
    if program in CHECKS:
        CHECKS[program](*words)
    else:
        assert program in OF_EVERY_MACHINE | {"sam"}


@pytest.mark.parametrize(
    "command",
    [
        "make pusch",
        "make push EVENTS='{}'",
        "make push EVENT='{\"manul\": true}'",
        "uv run msupply-dhis2 preview --setings settings.yaml",
        "uv run msupply-dhis2 setting check",
        "uv run python -m sandbox.dhis2 --prot 8080",
        "uv run python benchmarks/push.py --fast",
        "aws lambda invoke --function msupply-dhis2-push /dev/stdout",
        "aws ssm put-parameters --name /msupply-dhis2/settings",
        "curl https://dhis2.example.org",
    ],
)
def test_missing_is_found(command: str) -> None:
    (words,) = commands_of(command)
    with pytest.raises((AssertionError, ValueError, SystemExit, click.ClickException, MsupplyDhis2Error)):
        test_exists(words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["build", "deploy"])
def test_sam_options(name: str) -> None:
    told = [command for command in COMMANDS.values() if command[:2] == ["sam", name]]
    made = subprocess.run(
        [shutil.which("make") or "make", "--dry-run", "build", "deploy"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    told += [shlex.split(line) for line in re.findall(rf"sandbox\.tools (sam {name} [^;\n]*)", made)]
    options = {word for command in told for word in command if word.startswith("--")}
    assert options
    shown = subprocess.run([*sam(), name, "--help"], capture_output=True, text=True, check=True).stdout
    assert options <= set(re.findall(r"--[a-z0-9-]+", shown))


@pytest.mark.slow
def test_sam_template() -> None:
    ran = subprocess.run([*sam(), "validate"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "is a valid SAM Template" in ran.stdout
