"""Tools that live in environments of their own, because what they pin excludes what the project needs.

``python -m sandbox.tools sam …`` runs the AWS SAM CLI of the version named here, in place of this process.
"""

import os
import shutil
import sys
from pathlib import Path

SAM_CLI = "aws-sam-cli==1.170.0"
MINISTACK = ("ministack==1.5.33", "aws-sam-translator==1.115.0")

PROJECT = Path(__file__).resolve().parent.parent

# The real interpreter rather than the virtual environment's link to it: no tool may see the project's
# packages, and a version that is there already need not be fetched.
INTERPRETER = Path(sys.executable).resolve()


class ToolError(RuntimeError):
    """A tool is missing or failed; the message ends with what it said."""


def uv() -> str:
    """Find uv: the one that started this process, the one the Makefile brought, or one on the PATH.

    Raises
    ------
    ToolError
        There is none.
    """
    for candidate in (os.environ.get("UV"), PROJECT / ".tools" / "uv" / "bin" / "uv", shutil.which("uv")):
        if candidate and Path(candidate).is_file():
            return str(candidate)
    raise ToolError("uv is not there. Start this with make (make demo, make test, …), which brings it.")


def sam() -> list[str]:
    """Return the command of the SAM CLI, without its arguments."""
    # pip, which sam build calls, is not part of every Python that is otherwise good enough.
    return [uv(), "tool", "run", "--python", str(INTERPRETER), "--with", "pip", "--from", SAM_CLI, "sam"]


def python_with_ministack() -> list[str]:
    """Return the command of a Python that has MiniStack, the emulator of AWS, and nothing of the project."""
    emulator, translator = MINISTACK
    return [
        *(uv(), "tool", "run", "--python", str(INTERPRETER)),
        *("--from", emulator, "--with", translator, "python"),
    ]


def main() -> None:
    """Run ``sam`` in place of this process."""
    match sys.argv[1:]:
        case ["sam", *arguments]:
            path = f"{INTERPRETER.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            os.environ.update(PATH=path, SAM_CLI_TELEMETRY="0")
            command = [*sam(), *arguments]
            os.execv(command[0], command)  # noqa: S606 - no shell: the arguments are the user's own
        case _:
            raise SystemExit("python -m sandbox.tools sam ARGUMENTS…")


if __name__ == "__main__":
    main()
