"""Work that is given up when the time is over, so that what is known by then can still be told.

A read time-out is not enough: it begins anew with each piece of an answer, and ten questions may each take nearly as
long.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimedOutError
from threading import Thread

from msupply_dhis2.errors import Dhis2RateLimitedError, Dhis2SlowError

_WAIT_SECONDS = 5.0
"""Where a proxy does not say how long to wait."""

_LONGEST_WAIT_SECONDS = 60.0
"""Of what may take any time."""


def wait_for(error: Dhis2RateLimitedError, seconds_left: float) -> float | None:
    """Return the seconds to wait until a proxy takes requests again; ``None`` where there is no time for it."""
    wait = _WAIT_SECONDS if error.retry_after is None else error.retry_after
    return wait if wait < seconds_left else None


class BackgroundTask[Thing]:
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
        """Wait for the result; raise what the work raised, or ``TimeoutError`` after so many seconds."""
        return self._future.result(seconds)


class Deadline:
    """The time that several questions may take together, ``None`` for any."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._sent_away: Dhis2RateLimitedError | None = None
        self._until = None if seconds is None else time.monotonic() + seconds
        self.is_over = False
        """Whether a question was given up. It may still be under way, so its client is not to be used again."""

    def left(self) -> float | None:
        """Return the seconds that are left, ``None`` for any number."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def ask[Thing](self, question: Callable[[], Thing]) -> Thing:
        """Ask DHIS2 something; again, where a proxy asks to wait and there is time for it.

        Where the proxy asks for a longer wait, no later question is asked either.
        """
        while not self.is_over:
            if self._sent_away is not None:
                raise self._sent_away
            try:
                return BackgroundTask(question).result(self.left())
            except TimedOutError:
                self.is_over = True
            except Dhis2RateLimitedError as error:
                left = self.left()
                wait = wait_for(error, _LONGEST_WAIT_SECONDS if left is None else left)
                if wait is None:
                    self._sent_away = error
                else:
                    time.sleep(wait)
        raise Dhis2SlowError(
            f"DHIS2 did not answer all questions of the test within {self._seconds:.0f} seconds: this one was given up. "
            "Pushes wait longer for an answer. Test again at a quieter time."
        )
