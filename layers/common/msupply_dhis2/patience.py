"""Work that is given up when the time is over, so that what is known by then can still be told.

A read time-out is not enough: it begins anew with each piece of an answer, and ten questions may each take nearly as
long.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimedOutError
from threading import Thread

from msupply_dhis2.errors import Dhis2SlowError


class Later[Thing]:
    """Work that goes on beside; one that is given up does not keep the process from ending."""

    def __init__(self, work: Callable[[], Thing]) -> None:
        self._future: Future[Thing] = Future()
        Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], Thing]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
            self._future.set_exception(error)

    def result(self, seconds: float | None) -> Thing:
        """Wait for the result; raise what the work raised.

        Raises
        ------
        TimeoutError
            It is not there after so many seconds.
        """
        return self._future.result(seconds)


class Patience:
    """The time that several questions may take together.

    Parameters
    ----------
    seconds
        ``None``: any.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds
        self.is_over = False
        """Whether a question was given up. It may still be under way, so its client is not to be used again."""

    def left(self) -> float | None:
        """Give the seconds that are left, ``None`` for any number."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def ask[Thing](self, question: Callable[[], Thing]) -> Thing:
        """Ask DHIS2 something.

        Raises
        ------
        Dhis2SlowError
            The time is over.
        """
        if not self.is_over:
            try:
                return Later(question).result(self.left())
            except TimedOutError:
                self.is_over = True
        raise Dhis2SlowError(
            f"DHIS2 did not answer all questions of the test within {self._seconds:.0f} seconds: this one was given up. "
            "Pushes wait longer for an answer. Test again at a quieter time."
        )
