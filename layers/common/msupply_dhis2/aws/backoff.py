"""How long a message waits on its queue before it is tried again."""

import random
from collections.abc import Callable

FIRST_SECONDS = 30
LONGEST_SECONDS = 15 * 60
LONGEST_ASKED_FOR_SECONDS = 42_000
"""The queue hides a message for 12 hours at most, and counts from its delivery, push's own time included."""

_JITTER = 0.1


def wait_seconds(attempts: int, asked_for: float | None = None) -> int:
    """Return the seconds until a message is to be delivered again.

    Parameters
    ----------
    attempts
        How often it has been tried, this time included.
    asked_for
        Seconds that the server asked for (``Retry-After``), which then decides; ``None`` where it did not.

    Returns
    -------
    int
        About 30, 60, 120, … and from the sixth time on 900.
    """
    if asked_for is not None:
        return max(1, min(round(asked_for), LONGEST_ASKED_FOR_SECONDS))
    # The exponent is bounded too: after a thousand deliveries it would be a number of a hundred digits.
    return by_chance(min(FIRST_SECONDS * (1 << min(max(attempts, 1) - 1, 10)), LONGEST_SECONDS))


def by_chance(seconds: float, chance: Callable[[], float] = random.random) -> int:
    """Return a tenth more or less, so that messages that failed together do not come back together."""
    return round(seconds * (1 + _JITTER * (2 * chance() - 1)))
