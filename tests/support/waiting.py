"""Waiting for something that happens elsewhere."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60.0

STILL_SECONDS = 2.0
"""So long no message may be delivered before the queue is taken for paused: longer than push waits for another push that is
logging in."""


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; ``what`` is said where it does not in time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)
