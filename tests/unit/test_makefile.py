"""The commands that the README promises, and the run-time packages that the layer is built from."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from sandbox.tools import uv
from tests.support.paths import PROJECT

# What the make that runs these tests was told, and what this machine says.
NOT_OURS = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "STACK", "EVENT", "SOURCE", "DHIS2_URL", "AWS_REGION"}
NOT_OURS |= {"AWS_DEFAULT_REGION", "GUIDED"}
TARGETS = re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)


def make(*arguments: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    finished = subprocess.run(
        ["make", "--no-print-directory", *arguments],  # noqa: S607 - whichever make there is
        cwd=PROJECT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


def test_help_is_complete() -> None:
    described = re.findall(r"^  make ([a-z-]+) +\S", make("help"), flags=re.MULTILINE)
    assert sorted(described) == sorted(TARGETS)


def test_help_is_default() -> None:
    assert make() == make("help")


def test_targets_exist() -> None:
    make("--dry-run", *TARGETS, "RUN_ID=run-1")


def test_readme_commands() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)\b", (PROJECT / "README.md").read_text()))
    commands = {name for name in named if f"`make {name}" in (PROJECT / "README.md").read_text()}
    assert commands
    assert commands <= set(TARGETS)


def test_stack_name() -> None:
    targets = ("credentials", "settings", "test-connection", "push", "logs")
    assert make("--dry-run", *targets).count('--stack "$STACK"') == len(targets)
    for target in ("deploy", "delete"):
        assert '--stack-name "$STACK"' in make("--dry-run", target)


def test_no_python(tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "uv"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\ntest "$1" = --version || { echo "dns error" >&2; exit 2; }\n')
    stub.chmod(0o755)
    finished = subprocess.run(
        ["make", "--no-print-directory", "by-hand"],  # noqa: S607 - whichever make there is
        cwd=PROJECT,
        env={"PATH": f"{stub.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.startswith(
        "Python 3.13 is not on this machine, and cannot be fetched from the internet"
    )
    assert "dns" not in finished.stderr


def test_no_uv(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    python = tmp_path / "python3"
    python.write_text("""#!/bin/sh
case "$*" in
*venv*) mkdir -p .tools/uv/bin && cp "$0" .tools/uv/bin/python ;;
*) echo "ERROR: Temporary failure in name resolution" >&2; exit 1 ;;
esac
""")
    python.chmod(0o755)
    finished = subprocess.run(
        ["make", "--no-print-directory", f"--directory={tmp_path}", "demo"],  # noqa: S607 - whichever make there is
        env={"PATH": f"{tmp_path}{os.pathsep}{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    (said,) = (line for line in finished.stderr.splitlines() if line.startswith("uv"))
    assert said.startswith(
        "uv, which installs everything else, is not on this machine, and cannot be fetched"
    )
    assert "Traceback" not in finished.stderr


def test_oauth2_client() -> None:
    assert "--oauth2" not in make("--dry-run", "credentials")
    assert "--oauth2" in make("--dry-run", "credentials", "OAUTH2=yes")


def test_event_quoting() -> None:
    event = '{"manual": true, "stores": ["O\'Brien\'s; echo clinic"]}'
    commands = make("--dry-run", "push", EVENT=event)
    assert '--event "$EVENT"' in commands
    assert "clinic" not in commands


def variable(name: str, *arguments: str, folder: Path = PROJECT, **environment: str) -> str:
    """Return what a command that make runs finds in its environment."""
    show = f'show: ; @printf %s "$${{{name}-}}"'
    return make(f"--directory={folder}", "--eval", show, "show", *arguments, **environment)


def test_dollar_sign() -> None:
    address = "postgresql://reader:pa$word@db.example.org/omsupply"
    assert variable("SOURCE", f"SOURCE={address}") == address
    assert variable("SOURCE", SOURCE=address) == address


def test_region(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    settings = (PROJECT / "samconfig.toml").read_text()
    (tmp_path / "samconfig.toml").write_text(settings)
    assert variable("AWS_REGION", folder=tmp_path) == ""
    # Where sam deploy --guided writes it.
    deployed = settings.replace(
        "[default.deploy.parameters]", '[default.deploy.parameters]\nregion = "af-south-1"'
    )
    (tmp_path / "samconfig.toml").write_text(deployed)
    assert variable("AWS_REGION", folder=tmp_path) == "af-south-1"
    assert variable("AWS_REGION", folder=tmp_path, AWS_REGION="eu-west-1") == "eu-west-1"
    # What boto3 heeds.
    assert variable("AWS_DEFAULT_REGION", folder=tmp_path) == "af-south-1"
    assert variable("AWS_DEFAULT_REGION", folder=tmp_path, AWS_REGION="eu-west-1") == "eu-west-1"


def project_that_was_deployed(folder: Path, answering: str = "") -> None:
    """Copy what make needs, with the answers that sam deploy --guided writes down for the first stack.

    ``answering`` is what a shell does where sam would ask.
    """
    (folder / "Makefile").write_text((PROJECT / "Makefile").read_text())
    answered = (PROJECT / "samconfig.toml").read_text()
    for section, answers in {
        "[default.global.parameters]\n": 'region = "af-south-1"\n',
        "[default.deploy.parameters]\n": 'region = "af-south-1"\nparameter_overrides = "Timezone=\\"Africa/Lusaka\\""\n',
    }.items():
        answered = answered.replace(section, section + answers)
    (folder / "samconfig.toml").write_text(answered)
    # In place of uv, whose sam these tests do not want.
    (folder / "uv").write_text(f'#!/bin/sh\necho "$@"\n{answering}\n')
    (folder / "uv").chmod(0o755)


def commands_of_deploy(folder: Path, *arguments: str) -> list[str]:
    said = make(
        f"--directory={folder}", "deploy", *arguments, PATH=f"{folder}{os.pathsep}{os.environ['PATH']}"
    )
    # Those that were run, as the one in place of uv has them.
    return [
        line for line in said.splitlines() if line.startswith("run --locked") and "sandbox.tools sam" in line
    ]


def deploy(folder: Path, *arguments: str) -> str:
    (command,) = (line for line in commands_of_deploy(folder, *arguments) if "sam deploy" in line)
    return command


def test_second_stack_time_zone(tmp_path: Path) -> None:
    project_that_was_deployed(tmp_path)
    assert "--guided" not in deploy(tmp_path)
    command = deploy(tmp_path, "STACK=malawi")
    assert "--stack-name malawi" in command
    assert "--guided" in command
    answers = tmp_path / "samconfig.malawi.toml"
    assert f"--config-file {answers}" in command
    document = tomllib.loads(answers.read_text())["default"]
    assert document["global"]["parameters"] == {"stack_name": "malawi"}
    assert "Lusaka" not in answers.read_text()
    assert document["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"


def test_second_stack_remembers(tmp_path: Path) -> None:
    project_that_was_deployed(tmp_path)
    told = (tmp_path / "samconfig.toml").read_text().replace("Africa/Lusaka", "Africa/Blantyre")
    (tmp_path / "samconfig.malawi.toml").write_text(told.replace("af-south-1", "eu-west-1"))
    assert "--guided" not in deploy(tmp_path, "STACK=malawi")
    assert "Blantyre" in (tmp_path / "samconfig.malawi.toml").read_text()
    assert variable("AWS_REGION", "STACK=malawi", folder=tmp_path) == "eu-west-1"
    assert variable("AWS_REGION", folder=tmp_path) == "af-south-1"


def test_deploy_asks_again(tmp_path: Path) -> None:
    project_that_was_deployed(tmp_path)
    assert "--guided" in deploy(tmp_path, "GUIDED=yes")


def test_broken_uv_skipped(tmp_path: Path) -> None:
    shim = tmp_path / "uv"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    commands = make("--dry-run", "setup", PATH=f"{tmp_path}{os.pathsep}{os.defpath}")
    assert ".tools/uv/bin/uv sync" in commands


def test_working_uv_taken(tmp_path: Path) -> None:
    uv_of_the_machine = tmp_path / "uv"
    uv_of_the_machine.write_text("#!/bin/sh\necho uv 1.2.3\n")
    uv_of_the_machine.chmod(0o755)
    commands = make("--dry-run", "setup", PATH=f"{tmp_path}{os.pathsep}{os.defpath}")
    assert f"{uv_of_the_machine} sync" in commands


def test_requirements_are_locked() -> None:
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


def test_requirements_have_hashes() -> None:
    lines = (PROJECT / "layers/common/requirements.txt").read_text()
    for requirement in re.split(r"\n(?=\S)", lines.strip()):
        assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_ci_runs_readme_commands() -> None:
    script = (PROJECT / ".ci/run").read_text()
    assert "\nset -euo pipefail\n" in script
    assert re.findall(r"^make (.+)$", script, flags=re.MULTILINE) == [
        "--jobs 2 --output-sync lint audit UNLESS_OFFLINE=yes",
        "test",
        "test-slow",
    ]
    assert os.access(PROJECT / ".ci/run", os.X_OK)


def test_build_architecture(tmp_path: Path) -> None:
    # As sam writes it down once it was chosen at its question.
    chosen = 'parameter_overrides = "Timezone=\\\\"Asia/Vientiane\\\\" Architecture=\\\\"arm64\\\\""'
    answers = "samconfig.laos.toml"
    project_that_was_deployed(
        tmp_path,
        f"""case "$*" in *--guided) sed '/^.default.deploy.parameters/a {chosen}' {answers} >new; mv new {answers};; esac""",
    )
    build, first, again, second = commands_of_deploy(tmp_path, "STACK=laos", "GUIDED=yes")
    assert "Architecture=x86_64" in build
    assert "--guided" in first
    assert "Architecture=arm64" in again
    assert "sam deploy" in second
    assert "--guided" not in second
    # From then on it is known.
    build, only = commands_of_deploy(tmp_path, "STACK=laos")
    assert "Architecture=arm64" in build
    assert "sam deploy" in only


@pytest.mark.parametrize("name", ["aws-stock", "SSM", "2nd", "two words", "a" * 41, "lao_pdr", ""])
def test_long_name_refused(tmp_path: Path, name: str) -> None:
    project_that_was_deployed(tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        commands_of_deploy(tmp_path, f"STACK={name}")
    assert f"AWS would not take the name {name} for a stack" in refused.value.stderr
    assert "sam" not in refused.value.stdout
    assert "at most 40 letters" in refused.value.stderr


def test_longest_name(tmp_path: Path) -> None:
    project_that_was_deployed(tmp_path)
    assert deploy(tmp_path, f"STACK={'a' * 40}")
