"""Words that several warnings share."""

from collections.abc import Sequence

MOST_NAMED = 20
"""How many of a kind a sentence names."""


def some_of(names: Sequence[str]) -> str:
    """List names, but no more than a log line can bear."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
