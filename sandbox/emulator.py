"""The whole stack on a local emulator of AWS, for as long as a ``with`` block lasts.

The emulator is MiniStack. It takes the real ``sam build``, ``sam deploy`` and ``sam delete``, runs the
functions, the queue's event source mapping and the dead-letter queues, and enforces the IAM roles that the
template makes. It is not faithful in everything: schedules do not fire in their time zone, memory limits do
not hold, and functions run on this machine's own Python.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import boto3

from cli.options import STACK
from cli.stack import Stack
from sandbox.layer import finish
from sandbox.tools import INTERPRETER, PROJECT, ToolError, python_with_ministack, sam

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
REGION = "us-east-1"
# The emulator takes these as those of the account's owner; every other login has the rights of its role.
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105 - the emulator's own

STARTS_WITHIN = 60.0
LINES_OF_OUTPUT = 40

# What a command may see of the host: enough to find programs, caches, package indexes and certificates, and
# nothing that could lead to a real AWS account.
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "TERM",
)
_KEPT_PREFIXES = ("UV_", "PIP_", "XDG_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class Emulator:
    """A running emulator of AWS with at most one deployment of this project's stack.

    Parameters
    ----------
    name
        The stack's name.
    project
        The folder that holds ``template.yaml`` and ``samconfig.toml``.
    python_path
        Where the emulator's Python, and that of the functions, looks for modules first: for those of a moved clock.

    Raises
    ------
    ToolError
        The emulator does not start, or sam fails; the message ends with what was said.
    """

    def __init__(
        self, *, name: str = STACK, project: Path = PROJECT, python_path: Path | None = None
    ) -> None:
        self.name = name
        self.project = project
        self._python_path = python_path
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix="emulator-", ignore_cleanup_errors=True)
            self._folder = Path(stack.enter_context(folder))
            self._port = _free_port()
            session = boto3.Session(
                aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
            )
            self._stack = Stack(self.name, session, self.endpoint)
            stack.enter_context(self._process())
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self._held.close()

    @property
    def endpoint(self) -> str:
        """The address that stands in for every address of AWS."""
        return f"http://{HOST}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for a command that is to speak with the emulator and surely not with a real account."""
        return {
            **_kept_environment(),
            "PATH": f"{INTERPRETER.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
            # sam leaves folders behind in it.
            "TMPDIR": str(self._folder),
        }

    # ------------------------------------------------------------------------------- build, deploy, delete
    def build(self) -> None:
        """Build functions and layer as ``make build`` does."""
        with self._alone():
            self._sam(
                "build",
                *("--template-file", self.project / "template.yaml"),
                *("--build-dir", self._folder / "build"),
                *("--parameter-overrides", f"Architecture={_architecture()}"),
            )
        finish(self.built_layer)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other builds of this project: wherever they build to, they share a folder of what they depend on."""
        folder = self.project / ".aws-sam"
        folder.mkdir(exist_ok=True)
        with (folder / "building.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def deploy(self, **parameters: str) -> None:
        """Deploy what was built with ``sam deploy``; the template's parameters by their names."""
        # The emulator knows no saved queries and no metric math, and is spoken to over plain HTTP.
        overrides = {
            "Architecture": _architecture(),
            "SavedQueries": "no",
            "MetricMath": "no",
            "TransportPolicies": "no",
            **parameters,
        }
        self._sam(
            "deploy",
            *("--template-file", self._folder / "build" / "template.yaml"),
            *("--stack-name", self.name),
            *("--parameter-overrides", *(f'{name}="{value}"' for name, value in overrides.items())),
        )

    def delete(self) -> None:
        """Delete the stack with ``sam delete``."""
        self._sam("delete", "--stack-name", self.name, "--no-prompts")

    @property
    def scratch(self) -> Path:
        """A folder that goes when the emulator goes."""
        return self._folder

    @property
    def built_layer(self) -> Path:
        """The folder of packages that every function finds on its path."""
        return self._folder / "build" / "CommonLayer" / "python"

    def built_function(self, function: str) -> Path:
        """Return the folder of a function's own code, by its logical id."""
        return self._folder / "build" / function

    # --------------------------------------------------------------------------------------- using the stack
    @property
    def stack(self) -> Stack:
        """The stack that was deployed, with the rights of the account's owner."""
        return self._stack

    def put_settings(self, document: str) -> None:
        """Put the settings document where the functions look for it."""
        name = f"/{self.name}/settings"
        self.stack.client("ssm").put_parameter(Name=name, Value=document, Type="String", Overwrite=True)

    def put_secret(self, logical_id: str, value: str) -> None:
        """Fill in a secret of the template."""
        secrets = self.stack.client("secretsmanager")
        secrets.put_secret_value(SecretId=self.stack.resource(logical_id), SecretString=value)

    def officer(self, name: str, *outputs: str) -> dict[str, str]:
        """Make a user who has policies of the stack's outputs, and return the environment for their commands."""
        iam, named = self.stack.client("iam"), self.stack.outputs()
        iam.create_user(UserName=name)
        for output in outputs:
            iam.attach_user_policy(UserName=name, PolicyArn=named[output])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        login = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        return {**self.environment, **login}

    def emulator_log(self) -> str:
        """Return the end of what the emulator itself said, for a fault that is its own."""
        return _end_of((self._folder / "emulator.log").read_text(errors="replace"))

    # ---------------------------------------------------------------------------------------------- processes
    def _sam(self, *arguments: str | Path) -> None:
        command, *rest = arguments
        configuration = ("--config-file", self.project / "samconfig.toml", "--config-env", "local")
        finished = subprocess.run(  # noqa: S603 - our own command
            [*sam(), command, *configuration, *rest],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise ToolError(f"sam {command} failed. It said:\n{_end_of(finished.stdout)}")

    @contextlib.contextmanager
    def _process(self) -> Iterator[None]:
        """Run the emulator, and stop it with everything that it started."""
        python = _python_of_emulator()
        log = self._folder / "emulator.log"
        temporary = self._folder / "tmp"
        temporary.mkdir()
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [python, "-P", str(PROJECT / "sandbox" / "whole_logs.py")],
                cwd=temporary,
                # Functions inherit this: nothing of the host may leak into them.
                env={
                    **{name: os.environ[name] for name in _PROXIES if name in os.environ},
                    "NO_PROXY": f"{HOST},localhost",
                    "PATH": os.defpath,
                    "HOME": str(temporary),
                    "TMPDIR": str(temporary),
                    "BIND_HOST": HOST,
                    "MINISTACK_HOST": HOST,
                    "GATEWAY_PORT": str(self._port),
                    "AUTH": "true",
                    **({"PYTHONPATH": str(self._python_path)} if self._python_path else {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Reads until this process closes the pipe or is gone, however it went, and then ends the whole group.
        watcher = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", 'read -r _; kill -9 "-$0"', str(process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._wait_until_it_answers(process)
            yield
        finally:
            watcher.kill()
            watcher.communicate()
            _stop(process)

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError),
                direct.open(f"{self.endpoint}/_localstack/health", timeout=2),
            ):
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise ToolError(f"The emulator of AWS did not start. It said:\n{self.emulator_log()}")
            time.sleep(0.05)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its whole group, which it leads; nothing in it is worth a tidy end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _python_of_emulator() -> str:
    """Install the emulator where it is missing, and give its interpreter.

    Started directly rather than through uv, so that it does not inherit what uv needs of the host.
    """
    finished = subprocess.run(  # noqa: S603 - our own command
        [*python_with_ministack(), "-c", "import sys; print(sys.executable)"],
        env=_kept_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise ToolError(f"The emulator of AWS cannot be installed. uv said:\n{_end_of(finished.stderr)}")
    return finished.stdout.strip()


def _kept_environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    return {**kept, **proxies, "NO_PROXY": f"{HOST},localhost"}


def _architecture() -> str:
    """Return the template's name of this machine's processor, on which the emulator runs the functions."""
    machine = os.uname().machine
    try:
        return _ARCHITECTURES[machine]
    except KeyError:
        raise ToolError(f"The functions run on x86_64 and arm64, and this machine is {machine}.") from None


def _end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-LINES_OF_OUTPUT:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
