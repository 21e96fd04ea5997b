"""How long a message waits on the queue before push tries it again."""

import random

FIRST_SECONDS = 30
LONGEST_SECONDS = 15 * 60
LONGEST_ASKED_FOR_SECONDS = 42_000
"""The queue hides a message for 12 hours at most, and counts from its delivery, push's own time included."""

_JITTER = 0.1


def wait_seconds(receive_count: int, asked_for: float | None = None) -> int:
    """Return the seconds until a message is to be delivered again.

    Parameters
    ----------
    receive_count
        How often it has been delivered, this time included.
    asked_for
        Seconds that the server asked for (``Retry-After``), which then decides; ``None`` where it did not.

    Returns
    -------
    int
        30, 60, 120, … and from the sixth delivery on 900, each up to a tenth more by chance, so that messages that
        failed together do not come back together.
    """
    if asked_for is not None:
        return max(1, min(round(asked_for), LONGEST_ASKED_FOR_SECONDS))
    # The exponent is bounded too: after a thousand deliveries it would be a number of a hundred digits.
    wait = min(FIRST_SECONDS * (1 << min(max(receive_count, 1) - 1, 10)), LONGEST_SECONDS)
    return round(wait * (1 + _JITTER * random.random()))  # noqa: S311 nothing secret
