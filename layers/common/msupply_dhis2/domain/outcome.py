"""What became of a value: one type from DHIS2's answer to the log, the counts and the file of rejected values."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from enum import StrEnum
from operator import add
from typing import Self

from msupply_dhis2.domain.data_value import DataValue


class Extent(StrEnum):
    """How much DHIS2 refused for one reason: the value, some value among those of its data set, or the request."""

    VALUE = "value"
    GROUP = "group"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a value is not in DHIS2: the server's code and words (``E7612``), or ours."""

    code: str
    text: str
    extent: Extent = Extent.VALUE


class OutcomeKind(StrEnum):
    """What a value counts as."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    UNACCOUNTED = "unaccounted"
    """DHIS2 neither stored, or deleted, nor refused it."""
    DELETED = "deleted"
    """It was to be deleted and is gone, perhaps before already."""


@dataclass(frozen=True, slots=True)
class ValueOutcome:
    """What became of one value, and why, where it is not in DHIS2.

    It is not certain for each value of a call of which DHIS2 does not account for all: so many of them count as
    unaccounted, and nobody can tell which. Where DHIS2 only says how many of a call were unchanged, the first are those. It
    was not sent where it was rejected locally: DHIS2 would refuse it.
    """

    kind: OutcomeKind
    reasons: tuple[Reason, ...] = ()
    is_certain: bool = True
    was_sent: bool = True

    @property
    def is_applied(self) -> bool:
        """Whether DHIS2 holds it as it was sent; of a delete, whether it is gone."""
        return self.is_certain and self.kind not in {OutcomeKind.REJECTED, OutcomeKind.UNACCOUNTED}

    @property
    def name(self) -> str:
        """What the log and the file of rejected values call it."""
        return self.kind if self.is_certain else "perhaps unaccounted"


def rejected(*reasons: Reason, was_sent: bool = True) -> ValueOutcome:
    """Return the outcome of a value that DHIS2 refused, or would."""
    return ValueOutcome(OutcomeKind.REJECTED, reasons, was_sent=was_sent)


def accepted(
    number: int, *, unchanged: int = 0, unaccounted: int = 0, deletes: bool = False, is_certain: bool = True
) -> list[ValueOutcome]:
    """Return the outcomes of values of which DHIS2 tells only how many are unchanged, and how many unaccounted for."""
    applied = number - unaccounted
    unchanged = 0 if deletes else min(unchanged, applied)
    written = OutcomeKind.DELETED if deletes else OutcomeKind.STORED
    kinds = [OutcomeKind.UNCHANGED] * unchanged + [written] * (applied - unchanged)
    kinds += [OutcomeKind.UNACCOUNTED] * unaccounted
    return [ValueOutcome(kind, is_certain=is_certain) for kind in kinds]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many values have which outcome."""

    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    unaccounted: int = 0
    deleted: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[ValueOutcome]) -> Self:
        """Count outcomes."""
        return cls(**Counter(outcome.kind.value for outcome in outcomes))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(add, astuple(self), astuple(other)))

    @property
    def sent(self) -> int:
        """How many there are, with those that were rejected locally."""
        return sum(astuple(self))

    def by_name(self) -> dict[str, int]:
        """Return each outcome's number by its name."""
        return asdict(self)

    def sentence(self, *, deletes: bool = False) -> str:
        """Return ``5 sent: 4 stored, 0 unchanged, 1 rejected, 0 unaccounted``, and what was deleted, where anything was."""
        told = self.by_name()
        if deletes:
            told = {name: told[name] for name in ("deleted", "rejected", "unaccounted")}
        elif not self.deleted:
            del told["deleted"]
        each = ", ".join(f"{number:,} {name}" for name, number in told.items())
        return f"{self.sent:,} {'to delete' if deletes else 'sent'}: {each}"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A value that is, perhaps, not in DHIS2: what became of it, and the reasons, at least one."""

    value: DataValue
    outcome: str
    reasons: tuple[Reason, ...]
