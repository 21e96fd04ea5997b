"""Texts that look the same and are not: which characters differ, and where."""

import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher

from msupply_dhis2.text import count

_OTHER_ALPHABETS = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxsijhdqwabezhikmnoptyx",
)
"""Small letters of the Cyrillic and the Greek alphabet that look like Latin ones, themselves or their capitals."""

_DIGITS = str.maketrans("01i", "oll")

_LONGEST = 300
"""Characters that are compared: codes of DHIS2 have 50, names 230."""

_NAMED = 3


def folded(text: str, *, with_digits: bool = False) -> str:
    """Return what the eye takes in of a text: letters and digits, composed, in small letters of one alphabet.

    ``with_digits``: 0 is what o is, and 1 and i what l is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    look = "".join(filter(str.isalnum, plain)).translate(_OTHER_ALPHABETS)
    return look.translate(_DIGITS) if with_digits else look


def difference(ours: str, theirs: str, *, here: str = "mSupply", there: str = "DHIS2") -> str | None:
    """Return where two texts that look alike differ; ``None`` where they are the same, or look different.

    Such as "Character 3 is a NO-BREAK SPACE (U+00A0) in mSupply, a space in DHIS2."
    """
    ours, theirs = ours[:_LONGEST], theirs[:_LONGEST]
    if ours == theirs or folded(ours, with_digits=True) != folded(theirs, with_digits=True):
        return None
    matcher = SequenceMatcher(None, [*map(str.lower, ours)], [*map(str.lower, theirs)], autojunk=False)
    changes = [opcode for opcode in matcher.get_opcodes() if opcode[0] != "equal"]
    said = []
    for _, start, end, their_start, their_end in changes[:_NAMED]:
        if start == end:
            place = "At the end:" if start == len(ours) else f"Before character {start + 1}:"
        else:
            place = f"Character {end} is" if end - start == 1 else f"Characters {start + 1} to {end} are"
        our_part, their_part = _names(ours[start:end]), _names(theirs[their_start:their_end])
        said.append(f"{place} {our_part} in {here}, {their_part} in {there}.")
    more = len(changes) - _NAMED
    if more > 0:
        said.append(f"They differ in {count(more, 'more place')}.")
    in_case = [
        start + place
        for start, their_start, size in matcher.get_matching_blocks()
        for place in range(size)
        if ours[start + place] != theirs[their_start + place]
    ]
    if in_case:
        only = "Only capital" if not changes else "Capital"
        said.append(f"{only} and small letters differ, first at character {in_case[0] + 1}.")
    return " ".join(said)


class LookAlikes:
    """Finds the one among some texts that looks like another."""

    def __init__(self, among: Iterable[str]) -> None:
        self._by_look = {folded(text, with_digits=True): text for text in among}

    def to(self, text: str) -> str | None:
        """Return the text that looks like this one and is not the same; ``None`` where there is none."""
        found = self._by_look.get(folded(text, with_digits=True))
        return None if found == text else found


def _names(characters: str) -> str:
    names = [
        "a space" if each == " " else f"a {unicodedata.name(each, 'control character')} (U+{ord(each):04X})"
        for each in characters[:_NAMED]
    ]
    return (" and ".join(names) or "nothing") + (" and more" if len(characters) > _NAMED else "")
