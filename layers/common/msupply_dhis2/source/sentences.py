"""Words that several warnings share."""

from collections.abc import Sequence

_NAMED = 20


def some_of(names: Sequence[str]) -> str:
    """List names, but no more than a log line can bear."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
