"""MiniStack, the emulator of AWS, with all lines that functions log.

It runs on the emulator's interpreter, by its path, and sees nothing else of the project.

By itself MiniStack has a thread read what a function logs, and ends an invocation when that thread has read nothing for
5 ms. Where a machine is busy the last lines come later than that: they wait for the next invocation of the same
process, and are lost with it. But whoever has a function's answer can have all its lines, because it wrote them first.
"""

import os
import select
import threading
from typing import TYPE_CHECKING

from ministack import app
from ministack.core import lambda_runtime

if TYPE_CHECKING:
    import queue
    import subprocess


class _Lines:
    """The lines of one process, taken from its pipe by two threads.

    Parameters
    ----------
    process
        What writes the lines.
    lines
        Where they go.
    """

    def __init__(self, process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
        if process.stderr is None:
            raise TypeError("The emulator reads functions' lines another way now: fix sandbox/whole_logs.py.")
        self.descriptor = process.stderr.fileno()
        os.set_blocking(self.descriptor, False)
        self._lines = lines
        self._taking = threading.Lock()
        self._begun = b""

    def take(self) -> bool:
        """Take what the pipe holds now, and say whether there may be more later."""
        with self._taking:
            while True:
                try:
                    chunk = os.read(self.descriptor, 1 << 16)
                except BlockingIOError:
                    return True
                *whole, self._begun = (self._begun + chunk).split(b"\n")
                if not chunk and self._begun:
                    whole, self._begun = [self._begun], b""
                for line in whole:
                    self._lines.put(line.decode(errors="replace"))
                if not chunk:
                    return False


# The emulator's packages are not there where types are checked.
class _Worker(lambda_runtime.Worker):  # type: ignore[misc]
    """A process of a function, whose invocations end when all that they logged is read."""

    def _read_stderr(self) -> None:
        # Without this thread the pipe would be full before a function that logs much is done.
        lines = _lines_of(self._proc, self._stderr_queue)
        readable = select.poll()
        readable.register(lines.descriptor, select.POLLIN)
        while lines.take():
            readable.poll()

    def _spawn(self) -> None:
        super()._spawn()
        # The process may be gone when its lines are asked for.
        self._lines = _lines_of(self._proc, self._stderr_queue)

    def _drain_stderr(self) -> str:
        self._lines.take()
        return str(super()._drain_stderr())

    def _drain_stderr_bounded(self) -> str:
        return self._drain_stderr()


def _lines_of(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> _Lines:
    # Whichever thread comes first makes them: this is one step to Python.
    taken: _Lines = vars(process).setdefault("lines", _Lines(process, lines))
    return taken


lambda_runtime.Worker = _Worker
app.main()
