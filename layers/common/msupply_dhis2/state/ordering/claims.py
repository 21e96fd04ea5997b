"""Who has claimed the values of an org unit in a period: for each value the latest claim.

A value is kept as six bytes of a hash of what it is known by, so that 60,000 of them fit into an item of DynamoDB. That
two values of one org unit and period share them is a matter of one in ten million even for 6,000 of them, and it only
tells where an older message comes after a newer one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.ordering.revision import Revision

_MARK_BYTES = 6


# The same identifiers come in each org unit.
@lru_cache(maxsize=65_536)
def _mark(identifier: Identifier, data_element_scheme: Scheme, option_combo_scheme: Scheme) -> bytes:
    name = "\x1f".join((data_element_scheme, option_combo_scheme, *(part or "" for part in identifier)))
    return blake2b(name.encode(), digest_size=_MARK_BYTES).digest()


def mark_of(value: DataValue, data_element_scheme: Scheme) -> bytes:
    """Return what a value is kept by within its org unit and period."""
    return _mark(value.identifier, data_element_scheme, value.option_combo_scheme)


class Claim(NamedTuple):
    """Who claims values: how new they are, and the run that reads them. The larger is the later."""

    revision: Revision
    run_id: str


@dataclass(slots=True)
class LatestRevisions:
    """The claims to the values of one org unit in one period; a value stands under its latest claim only.

    Attributes
    ----------
    marks
        The values of each claim.
    unknown
        A claim that any value may have, because those before could not be read.
    """

    marks: dict[Claim, set[bytes]] = field(default_factory=dict)
    unknown: Claim | None = None

    def claim(self, claim: Claim, marks: Iterable[bytes]) -> None:
        """Claim values; those that a later claim has stay with it."""
        claimed = set(marks)
        for other, held in self.marks.items():
            if other > claim:
                claimed.difference_update(held)
            elif other < claim:
                held.difference_update(claimed)
        if claimed:
            self.marks.setdefault(claim, set()).update(claimed)
        self.marks = {each: held for each, held in self.marks.items() if held}

    def latest(self, mark: bytes) -> Claim | None:
        """Return the latest claim to a value; ``None`` where there is none."""
        found = next((claim for claim, held in self.marks.items() if mark in held), None)
        return max((each for each in (found, self.unknown) if each is not None), default=None)

    @property
    def size(self) -> int:
        """How many bytes they take in the table, about."""
        return sum(100 + len(claim.run_id) + _MARK_BYTES * len(held) for claim, held in self.marks.items())

    def written(self) -> list[dict[str, str | bytes]]:
        """Write the claims as the table holds them; one without a mark is the one that any value may have."""
        unknown = [] if self.unknown is None else [(self.unknown, set[bytes]())]
        return [
            {"revision": str(claim.revision), "run_id": claim.run_id, "marks": b"".join(sorted(held))}
            for claim, held in [*unknown, *sorted(self.marks.items())]
        ]

    @classmethod
    def read(cls, written: Iterable[Mapping[str, Any]]) -> "LatestRevisions":
        """Read what ``written`` gave; a ``ValueError``, ``TypeError`` or ``KeyError`` where it is something else."""
        claims = cls()
        for each in written:
            claim = Claim(Revision.parse(str(each["revision"])), str(each["run_id"]))
            marks = bytes(each["marks"])
            if len(marks) % _MARK_BYTES:
                raise ValueError("the claims end within a mark")
            if marks:
                claims.marks[claim] = {
                    marks[start : start + _MARK_BYTES] for start in range(0, len(marks), _MARK_BYTES)
                }
            else:
                claims.unknown = claim
        return claims
