"""Batches to DHIS2 from this machine, two at a time, as the stack sends them."""

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Self

from cli.announcement import Tell
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2DownError, MsupplyDhis2Error
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.settings import Settings
from msupply_dhis2.text import count, listed

AT_ONCE = 2
"""As many as on the stack: DHIS2 takes more than twice as many values over two connections as over one."""

ATTEMPTS = 5
"""Fewer than push has on AWS: somebody waits for the end."""

VALUES_NAMED = 5
"""How many values are named for each cause of refusals."""

type Refusals = dict[tuple[str, str], list[LogRecord]]
"""What is said of each value that is not in DHIS2, by DHIS2's code and what became of it."""

type Follow = Callable[[Counts, int], bool]
"""Takes what became of the values so far, and how many were given up; returns whether more is to be sent."""


def go_on(_: Counts, __: int) -> bool:
    """Send everything."""
    return True


@dataclass(slots=True)
class _Pushed:
    """What became of a batch; values that are not among the counts were given up because of the failure."""

    counts: Counts = field(default_factory=Counts)
    refused: list[LogRecord] = field(default_factory=list)
    held_periods: frozenset[str] = frozenset()
    failure: MsupplyDhis2Error | None = None


class Sender:
    """Sends batches as they come, and counts what became of their values: a context manager.

    Of two calls at once into a period that is new to DHIS2 it loses one: the first batch of a period goes alone.
    ``connect`` opens a session with DHIS2; each is used by one thread at a time. ``not_sent`` is what followed after ``follow``
    had it stopped.
    """

    def __init__(
        self,
        connect: Callable[[], Dhis2Session],
        settings: Settings,
        tell: Tell,
        follow: Follow = go_on,
    ) -> None:
        self.counts = Counts()
        self.given_up = 0
        self.not_sent = 0
        self.refusals: Refusals = {}
        self._connect = connect
        self._settings = settings
        self._tell_anybody = tell
        self._telling = Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._idle: list[Dhis2Session] = []
        self._running: deque[tuple[Batch, Dhis2Session, Future[_Pushed]]] = deque()
        self._held_periods: frozenset[str] = frozenset()
        self._is_over = False
        self._follow = follow
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Somebody may wait for the end: what fails now is not tried again.
        self._is_over |= error is not None
        while self._running:
            self._take_outcome()
        self._threads.shutdown()

    @property
    def session(self) -> Dhis2Session:
        """A session that is idle; it is opened where there is none."""
        if not self._idle:
            self._idle.append(self._connect())
        return self._idle[-1]

    def send(self, batch: Batch) -> None:
        """Send a batch as soon as there is room for it."""
        is_new = not {value.period for value in batch.values} <= self._held_periods
        while self._running and (is_new or len(self._running) == AT_ONCE):
            self._take_outcome()
        self._look()
        if self._is_stopped:
            self.not_sent += len(batch.values)
            return
        if self._is_over:
            self.given_up += len(batch.values)
            return
        session = self.session
        self._idle.remove(session)
        self._running.append((batch, session, self._threads.submit(self._push, batch, session)))
        if is_new:
            self._take_outcome()

    def _look(self) -> None:
        self._is_stopped |= not self._follow(self.counts, self.given_up)

    def _take_outcome(self) -> None:
        batch, session, pushing = self._running.popleft()
        pushed = pushing.result()
        self._idle.append(session)
        self.counts += pushed.counts
        self.given_up += len(batch.values) - pushed.counts.sent
        self._held_periods |= pushed.held_periods
        self._look()
        for line in pushed.refused:
            cause = str(line.fields["code"]), str(line.fields["outcome"])
            self.refusals.setdefault(cause, []).append(line)
        # The same login for each batch could lock the account; and the next batch finds the same DHIS2.
        if isinstance(pushed.failure, (Dhis2AuthenticationError, Dhis2DownError)) and not self._is_over:
            self._is_over = True
            self._tell(
                "The other batches are not tried, because they would fail in the same way.", logging.ERROR
            )

    def _tell(self, message: str, level: int) -> None:
        with self._telling:
            self._tell_anybody(message, level)

    def _push(self, batch: Batch, session: Dhis2Session) -> _Pushed:
        """Push a batch as often as it helps."""
        pushed, done = _Pushed(), frozenset[int]()
        for attempt in range(1, ATTEMPTS + 1):
            result = push(batch, session, settings=self._settings, done=done)
            pushed.counts, done = pushed.counts + result.counts, result.settled
            pushed.held_periods |= result.held_periods
            pushed.failure = result.failure
            for line in result.lines:
                if {"outcome", "code"} <= line.fields.keys():
                    pushed.refused.append(line)
                else:
                    level = logging.WARNING if line.level > logging.INFO else logging.INFO
                    self._tell(line.message, level)
            if result.failure is None:
                break
            if isinstance(result.failure, Dhis2AuthenticationError):
                self._tell(str(result.failure), logging.ERROR)
                break
            self._tell(f"Attempt {attempt} of {ATTEMPTS}: {result.failure}", logging.WARNING)
            if self._is_over:
                break
            if attempt < ATTEMPTS:
                time.sleep(result.failure.retry_after or 2**attempt)
        return pushed


def by_frequency(refusals: Refusals) -> list[tuple[tuple[str, str], list[LogRecord]]]:
    """Return the causes with their values, the most frequent first."""
    return sorted(refusals.items(), key=lambda cause: -len(cause[1]))


def tell_refusals(refusals: Refusals, tell: Tell) -> None:
    """Tell the causes, the most frequent first: each with what it is and how to correct it, and the first values."""
    for (code, outcome), lines in by_frequency(refusals):
        first, *others = lines
        named = [f"{line.fields['item']}, {line.fields['store']}, {line.fields['metric']}" for line in others]
        title, by = f"{count(len(lines), 'value')} {outcome} ({code}):", "\n  - "
        tell(f"{title}{by}{listed([first.message, *named], VALUES_NAMED, by=by)}", logging.WARNING)
