"""Identifiers, codes and names that DHIS2 takes: of its lengths, unique, and the same at each planning."""

import re
import string
import unicodedata
from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from msupply_dhis2.errors import ConfigurationError

NAME_LIMIT = 230
SHORT_NAME_LIMIT = 50
CODE_LIMIT = 50

_LETTERS = string.ascii_letters
_ALPHABET = string.ascii_letters + string.digits
_PREFIX = re.compile(r"[A-Za-z]\w{0,19}", re.ASCII)
_UID_LENGTH = 11
_HASH_CHARACTERS = 6


@cache
def uid(kind: str, key: str) -> str:
    """Return the identifier of what a code stands for: 11 letters and digits, the first a letter, always the same."""
    number = int.from_bytes(sha256(f"msupply-dhis2/{kind}/{key}".encode()).digest())
    number, place = divmod(number, len(_LETTERS))
    characters = [_LETTERS[place]]
    for _ in range(_UID_LENGTH - 1):
        number, place = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[place])
    return "".join(characters)


def length(text: str) -> int:
    """Return how long DHIS2 takes a text to be: it counts in UTF-16."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    """Return the beginning of a text that is no longer than ``limit``; no sign is cut off the letter that bears it."""
    if length(text) <= limit:
        return text
    kept = text[:limit]
    while length(kept) > limit:
        kept = kept[:-1]
    while kept and unicodedata.category(text[len(kept)]).startswith("M"):
        kept = kept[:-1]
    return kept.rstrip()


def checked_prefix(prefix: str) -> str:
    """Return a prefix of codes; raise where it is none."""
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f"--code-prefix: '{prefix}' cannot begin a code. Write a letter, then at most 19 letters, digits or underscores."
        )
    return prefix


def fit_code(code: str) -> str:
    """Return a code of an object that only this command names; one that is too long ends with a hash of itself."""
    if length(code) <= CODE_LIMIT:
        return code
    end = sha256(code.encode()).hexdigest()[:_HASH_CHARACTERS].upper()
    return f"{cut(code, CODE_LIMIT - _HASH_CHARACTERS - 1)}_{end}"


class NameBook:
    """The names of one kind of object, and who has each; capital and small letters make no difference."""

    def __init__(self, holders: Mapping[str, str] | None = None) -> None:
        self._holders = {name.casefold(): holder for name, holder in (holders or {}).items()}

    def enter(self, name: str, tag: str, limit: int, holder: str) -> str:
        """Return a name that no other has: as it is where it fits and is free, else cut and with the tag at its end."""
        name = " ".join(name.split())
        chosen = name if length(name) <= limit else _tagged(name, tag, limit)
        number = 1
        while self._holders.get(chosen.casefold(), holder) != holder:
            chosen = _tagged(name, tag if number == 1 else f"{tag} {number}", limit)
            number += 1
        self._holders[chosen.casefold()] = holder
        return chosen


def _tagged(name: str, tag: str, limit: int) -> str:
    # The tag itself may be a code of 50 characters: its end tells more than its beginning, which is the same for many.
    most = limit // 2
    end = f" ({tag if length(tag) <= most else tag[-most:]})"
    return f"{cut(name, limit - length(end))}{end}"
