"""Numbers, lists and guesses as they stand in sentences, and choices as people write them."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from difflib import SequenceMatcher, get_close_matches
from enum import StrEnum
from typing import Self


def count(number: int, one: str, many: str | None = None) -> str:
    """Return how many: ``1 store``, ``10,000 stores``, ``2 batches``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def all_of(number: int, one: str, many: str | None = None) -> str:
    """Return that it is all of them: ``all 3 stores``, ``the only store``."""
    return f"the only {one}" if number == 1 else f"all {count(number, one, many)}"


def shown_day(day: date) -> str:
    """Return a day in words: ``31 January 2026``."""
    return f"{day.day} {day:%B %Y}"


MOST_NAMED = 20
"""How many of a kind a log line names."""


def listed(names: Sequence[str], most: int = MOST_NAMED, *, of: int | None = None, by: str = "") -> str:
    """Return a list, shortened: ``Kamo, Opua and 3 more``; ``of`` is how many there are where not all are given."""
    by = by or _between(names)
    more = (len(names) if of is None else of) - most
    shown = by.join(names[:most])
    return f"{shown}{by if by != ', ' else ' '}and {more:,} more" if more > 0 else shown


def joined(parts: Iterable[str]) -> str:
    """Return several things as one: ``a, b and c``, or ``a, b; and c``."""
    *most, last = parts
    by = _between([*most, last])
    return f"{by.join(most)}{by if by != ', ' else ' '}and {last}" if most else last


def _between(parts: Sequence[str]) -> str:
    """Return what stands between several things: semicolons where one of them could be several."""
    return "; " if any(re.search(r",(?!\d)| and ", part) for part in parts) else ", "


def closest(text: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return which of some texts comes nearest letter by letter; ``None`` where none is so much alike (0 to 1), or several."""
    near: Sequence[str] = get_close_matches(text, among, n=2, cutoff=cutoff)
    ratios = {SequenceMatcher(None, each, text).ratio() for each in near}
    return near[0] if near and len(ratios) == len(near) else None


def as_word(text: str) -> str:
    """Write words as names of fields and choices are written: ``Item code`` is ``item_code``."""
    return "_".join(re.split(r"[\s_-]+", text.strip().casefold()))


class Choice(StrEnum):
    """One of several; found by its value, or by other words that people have for it, however they write them."""

    words: tuple[str, ...]

    def __new__(cls, value: str, *words: str) -> Self:  # noqa: D102 - as the class says
        choice = str.__new__(cls, value)
        choice._value_ = value
        choice.words = words
        return choice

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        word = as_word(value) if isinstance(value, str) else ""
        return next((each for each in cls if word in map(as_word, (each.value, *each.words))), None)
