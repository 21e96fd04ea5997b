"""Who has claimed the values of an org unit in a period: for each value the latest stamp.

A value is kept as six bytes of a hash of what it is known by, so that 60,000 of them fit into an item of DynamoDB. That
two values of one org unit and period share them is a matter of one in ten million even for 6,000 of them, and it only
tells where an older message comes after a newer one.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from msupply_dhis2.mapping import DataValue, Identifier
from msupply_dhis2.order.stamp import Stamp
from msupply_dhis2.settings import Scheme

_MARK_BYTES = 6
_GROUP = struct.Struct(">QQI")


# The same identifiers come in each org unit.
@lru_cache(maxsize=65_536)
def _mark(identifier: Identifier, data_element_scheme: Scheme, option_combo_scheme: Scheme) -> bytes:
    name = "\x1f".join((data_element_scheme, option_combo_scheme, *(part or "" for part in identifier)))
    return blake2b(name.encode(), digest_size=_MARK_BYTES).digest()


def mark_of(value: DataValue, data_element_scheme: Scheme) -> bytes:
    """Give what a value is kept by within its org unit and period."""
    return _mark(value.identifier, data_element_scheme, value.option_combo_scheme)


@dataclass(slots=True)
class Claims:
    """The claims to the values of one org unit in one period; a value stands under its latest stamp only."""

    marks: dict[Stamp, set[bytes]] = field(default_factory=dict)

    def claim(self, stamp: Stamp, marks: Iterable[bytes]) -> None:
        """Claim values; those that a later stamp has stay with it."""
        claimed = set(marks)
        for other, held in self.marks.items():
            if other > stamp:
                claimed.difference_update(held)
            elif other < stamp:
                held.difference_update(claimed)
        if claimed:
            self.marks.setdefault(stamp, set()).update(claimed)
        self.marks = {each: held for each, held in self.marks.items() if held}

    def stamp_of(self, mark: bytes) -> Stamp | None:
        """Give the latest stamp that claims a value; ``None`` where none does."""
        return next((stamp for stamp, held in self.marks.items() if mark in held), None)

    def encoded(self) -> bytes:
        """Write the claims: for each stamp its two numbers, how many values, and their marks."""
        return b"".join(self._groups())

    def _groups(self) -> Iterator[bytes]:
        for stamp, held in sorted(self.marks.items()):
            yield _GROUP.pack(*stamp, len(held))
            yield b"".join(sorted(held))

    @classmethod
    def read(cls, content: bytes) -> "Claims":
        """Read what ``encoded`` wrote.

        Raises
        ------
        ValueError
            It is something else.
        """
        claims = cls()
        place = 0
        while place < len(content):
            try:
                snapshot, read_at, number = _GROUP.unpack_from(content, place)
            except struct.error as error:
                raise ValueError("the claims end within a group") from error
            place += _GROUP.size
            end = place + number * _MARK_BYTES
            if end > len(content):
                raise ValueError("the claims end within a mark")
            claims.marks[Stamp(snapshot, read_at)] = {
                content[start : start + _MARK_BYTES] for start in range(place, end, _MARK_BYTES)
            }
            place = end
        return claims
