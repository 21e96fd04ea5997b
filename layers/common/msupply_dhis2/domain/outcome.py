"""What became of a value: one type from DHIS2's answer to the log, the counts and the file of rejected values."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.domain.data_value import DataValueKey
from msupply_dhis2.domain.stock import Kind


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


APPLIED = frozenset({OutcomeKind.STORED, OutcomeKind.UNCHANGED, OutcomeKind.DELETED})


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
        return self.is_certain and self.kind in APPLIED

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
    unchanged = min(unchanged, number - unaccounted)
    written = number - unchanged - unaccounted
    kinds = [
        *[OutcomeKind.UNCHANGED] * unchanged,
        *[OutcomeKind.STORED] * written,
        *[OutcomeKind.UNACCOUNTED] * unaccounted,
    ]
    if deletes:
        kinds = [kind if kind is OutcomeKind.UNACCOUNTED else OutcomeKind.DELETED for kind in kinds]
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
        mine, others = self.by_name(), other.by_name()
        return Counts(**{name: mine[name] + others[name] for name in mine})

    @property
    def sent(self) -> int:
        """How many there are, with those that were rejected locally."""
        return sum(self.by_name().values())

    def by_name(self) -> dict[str, int]:
        """Return each outcome's number by its name."""
        return {kind.value: getattr(self, kind.value) for kind in OutcomeKind}

    def sentence(self) -> str:
        """Return ``5 sent: 4 stored, 0 unchanged, 1 rejected, 0 unaccounted``, and what was deleted."""
        deleted = f", {self.deleted:,} deleted" if self.deleted else ""
        return (
            f"{self.sent:,} sent: {self.stored:,} stored, {self.unchanged:,} unchanged, "
            f"{self.rejected:,} rejected, {self.unaccounted:,} unaccounted{deleted}"
        )

    def sentence_of_a_delete(self) -> str:
        """Return ``5 to delete: 4 deleted, 1 rejected, 0 unaccounted``."""
        return (
            f"{self.sent:,} to delete: {self.deleted:,} deleted, {self.rejected:,} rejected, "
            f"{self.unaccounted:,} unaccounted"
        )


class Why(BaseModel):
    """One reason: DHIS2's code and words, and what to do."""

    model_config = ConfigDict(frozen=True)

    code: str
    reason: str
    what_to_do: str


class RejectedRow(BaseModel):
    """One value, what became of it, and the reasons for which it is not in DHIS2, at least one."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    store: str
    item: str
    metric: str
    key: DataValueKey
    value: str
    why: tuple[Why, ...]
    kind: Kind = Kind.STORE
    document: str = ""
