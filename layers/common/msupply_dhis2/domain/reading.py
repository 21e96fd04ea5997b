"""How a field of the settings or of an event is read as a person writes it.

A reader returns the value, or raises ``ValueError`` with a sentence: what is wrong with it and what to write.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msupply_dhis2.text import closest

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_LONGEST_SHOWN = 60


def shown(value: object) -> str:
    """Return what was given, for a sentence."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "empty"
        case list() | tuple():
            return "a list"
        case dict():
            return "a group of fields"
        case str() if len(value) > _LONGEST_SHOWN:
            return repr(value[:_LONGEST_SHOWN] + "…")
        case _:
            return repr(value)


def read_text(value: object) -> str:
    """Read a text without the blanks around it."""
    return read_written_text(value).strip()


def read_written_text(value: object) -> str:
    """Read a text as it is written."""
    if isinstance(value, str):
        # JSON can name halves of characters, which can be neither sent nor shown.
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("has a character that is no text. Type it anew.")
        return value
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic tells of a ValueError only
            f"is read as {shown(value)}, not as text: YAML takes yes, no, on, off, true and false so. "
            "Put it in quotes if it is text, or leave the field out."
        )
    raise ValueError(f"is {shown(value)} where a text belongs. Write a single text in quotes.")


def read_switch(value: object) -> bool:
    """Read a switch."""
    if isinstance(value, bool):
        return value
    word = value.strip().casefold() if isinstance(value, str) else ""
    if word in _SWITCH:
        return _SWITCH[word]
    raise ValueError(f"is {shown(value)} where a switch belongs. Write true or false.")


def as_word(text: str) -> str:
    """Write words as names of fields and choices are written: ``Item code`` is ``item_code``."""
    return "_".join(re.split(r"[\s_-]+", text.strip().casefold()))


def renamed(fields: Mapping[Any, object], rename: Callable[[str], str]) -> Mapping[Any, object]:
    """Return fields under the names that are meant; as they were written where one is given twice.

    Of a field that is given twice none is chosen: it is refused under its other name.
    """
    named = {rename(str(name)): value for name, value in fields.items()}
    return named if len(named) == len(fields) else fields


_WORDS_OF_A_CHOICE = re.compile(r"[\w .,'-]{0,60}")


@dataclass(frozen=True, slots=True)
class OneOf[Choice: StrEnum]:
    """Reads a choice, by its name or in the tab's words."""

    choices: type[Choice]
    tab_words: Mapping[str, Choice] = field(default_factory=dict)

    def __call__(self, value: object) -> Choice:
        """Read it."""
        known = {choice.value: choice for choice in self.choices}
        known |= {as_word(words): choice for words, choice in self.tab_words.items()}
        word = as_word(value) if isinstance(value, str) else ""
        if word in known:
            return known[word]
        nearest = closest(word, known)
        guess = f" Did you mean {known[nearest]}?" if nearest else ""
        # What does not look like a choice may be a password at the wrong place, and is not repeated.
        may_be_shown = not isinstance(value, str) or _WORDS_OF_A_CHOICE.fullmatch(value)
        said = shown(value) if may_be_shown else "no choice"
        raise ValueError(f"is {said}.{guess} It takes one of: {', '.join(self.choices)}.")
