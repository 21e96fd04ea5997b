"""Numbers and lists as they stand in sentences."""

from collections.abc import Iterable, Sequence


def count(number: int, one: str, many: str | None = None) -> str:
    """Return how many: ``1 store``, ``10,000 stores``, ``2 batches``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """Say a list, shortened: ``Kamo, Opua and 3 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def joined(parts: Iterable[str]) -> str:
    """Say several things: ``a, b and c``."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
