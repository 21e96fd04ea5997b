"""What may have been meant: the thing whose code or name comes nearest."""

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches

from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.domain.lookalikes import folded

COMPARISONS = 150_000
"""How many texts are compared letter by letter for one list: about a second on a small function."""

_ALIKE = 0.75


class Nearest[Thing: Identified]:
    """Finds the nearest of some things, by code first and then by name.

    Codes and names that look the same (see ``lookalikes``), and UIDs, are found at once; the others are compared letter by
    letter until the comparisons are used up.
    """

    def __init__(self, things: Collection[Thing]) -> None:
        self._by_code = _index(things, lambda thing: thing.code)
        self._by_name = _index(things, lambda thing: thing.name)
        self._by_id = _index(things, lambda thing: thing.id)
        self._comparisons = COMPARISONS

    def to(self, identifier: str, name: str) -> Thing | None:
        """Return the thing that is nearest to what mSupply has."""
        code, bare_name = folded(identifier), folded(name)
        return (
            self._by_code.get(code)
            or self._by_id.get(code)
            or self._by_name.get(bare_name)
            or self._alike(code, self._by_code)
            or self._alike(bare_name, self._by_name)
        )

    def _alike(self, text: str, things: dict[str, Thing]) -> Thing | None:
        if not text or self._comparisons < len(things):
            return None
        self._comparisons -= len(things)
        near: Sequence[str] = get_close_matches(text, things, n=1, cutoff=_ALIKE)
        return things[near[0]] if near else None


def _index[Thing](things: Collection[Thing], key: Callable[[Thing], str | None]) -> dict[str, Thing]:
    return {text: thing for thing in things if (text := folded(key(thing) or ""))}
