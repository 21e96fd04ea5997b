"""What a push would send beside what DHIS2 holds: new, changed, the same, or a value that would vanish."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched
from typing import Any, NamedTuple

from msupply_dhis2.compute.event import ComputeEvent, rows_asked_for
from msupply_dhis2.compute.result import ComputeResult
from msupply_dhis2.dhis2.held import MOST_PLACES
from msupply_dhis2.domain.choices import Scheme, Setup
from msupply_dhis2.domain.data_value import JOINED_BY, Column, DataValue, Origin, is_same
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.reading import folded
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.periods import Basis
from msupply_dhis2.settings import Settings

type Line = Mapping[str, Any]
"""A line of one of the files that a stack leaves; without a stack the same functions make it."""


class HeldValues(NamedTuple):
    """The values that DHIS2 holds, why nothing can be read of some org units, and on a stack a sentence about it."""

    values: Sequence[Line]
    left_out: Mapping[str, str] = {}
    message: str = ""


class Beside(StrEnum):
    """How a value stands to what DHIS2 holds."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    VANISHED = "vanished"
    """DHIS2 holds a value, and none would be sent."""
    UNKNOWN = "unknown"
    """Nobody knows what DHIS2 holds."""


@dataclass(frozen=True, slots=True)
class ComparedValue:
    """A value that would be sent, and what DHIS2 ``held`` of it; of one that would vanish ``value.value`` is empty."""

    value: DataValue
    beside: Beside
    held: str | None = None
    stored_by: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """Every value that a push would send, and what compute says of them."""

    values: tuple[DataValue, ...]
    result: ComputeResult


@dataclass(frozen=True, slots=True)
class Compared:
    """A preview beside what DHIS2 holds.

    ``lines`` are all its values, then those that would vanish. ``notes`` say why it is not known of some values, or of all.
    """

    event: ComputeEvent
    preview: Preview
    lines: tuple[ComparedValue, ...]
    notes: tuple[str, ...] = ()

    def number(self, beside: Beside) -> int:
        """Count the values that stand so to what DHIS2 holds."""
        return sum(line.beside is beside for line in self.lines)


def not_compared(preview: Preview, event: ComputeEvent, why: str) -> Compared:
    """Return a preview of which nobody knows what DHIS2 holds."""
    lines = tuple(ComparedValue(value, Beside.UNKNOWN) for value in preview.values)
    return Compared(event, preview, lines, (why,))


def compare(
    preview: Preview,
    event: ComputeEvent,
    settings: Settings,
    mapping: Iterable[Line],
    read: Callable[[Mapping[str, object]], HeldValues],
) -> Compared:
    """Set a preview beside what DHIS2 holds.

    Parameters
    ----------
    mapping
        The stores and items that are sent: the lines of an export of the mapping.
    read
        Reads what DHIS2 holds of what a question (``held``) names.
    """
    scope = _Scope(preview, event, settings, list(mapping))
    held: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    left_out: dict[str, str] = {}
    for question in scope.questions():
        answer = read(question)
        left_out |= answer.left_out
        for each in answer.values:
            held[each["data_element"], each["period"], each["org_unit"]].append(each)
    lines = [_beside(value, held, left_out) for value in preview.values]
    lines += scope.vanished(each for others in held.values() for each in others)
    notes = tuple(f"{name}: {why}" for name, why in left_out.items())
    return Compared(event, preview, tuple(lines), notes)


def is_held(held: str, sent: str) -> bool:
    """Whether DHIS2 holds what is sent; a boolean's true is 1."""
    return is_same(_BOOLEANS.get(held, held), _BOOLEANS.get(sent, sent))


_BOOLEANS = {"true": "1", "false": "0"}


def _beside(
    value: DataValue, held: Mapping[tuple[str, str, str], list[Line]], left_out: Collection[str]
) -> ComparedValue:
    """Compare a value, and take what DHIS2 holds of it out of ``held``."""
    if value.org_unit in left_out:
        return ComparedValue(value, Beside.UNKNOWN)
    there = held.get((value.data_element, value.period, value.org_unit), [])
    combo = _combo_of(value)
    # As which of the two it is sent is known to push only.
    found = next((each for each in there if combo is None or combo in _combos_of(each)), None)
    if found is None:
        return ComparedValue(value, Beside.NEW)
    there.remove(found)
    beside = Beside.SAME if is_held(found["value"], value.value) else Beside.CHANGED
    return ComparedValue(value, beside, found["value"], _stored_by(found))


def _combo_of(value: DataValue) -> str | None:
    return value.key.category_option_combo or value.key.attribute_option_combo


def _combos_of(held: Line) -> tuple[str, str]:
    return held["category_option_combo"], held["attribute_option_combo"]


def _stored_by(held: Line) -> str:
    return str(held.get("stored_by") or "")


class _Scope:
    """What a preview is about: of which stores, items and metrics it would have sent values, and in which periods."""

    def __init__(
        self, preview: Preview, event: ComputeEvent, settings: Settings, mapping: Sequence[Line]
    ) -> None:
        rows = rows_asked_for(event, settings)
        if event.months is not None and event.basis is None:
            rows = tuple((row, basis) for row, basis in rows if basis is Basis.PREVIOUS_MONTH)
        self._store_of: dict[str, tuple[str, Kind]] = {}
        self._about: dict[tuple[str, str | None], tuple[str, Metric]] = {}
        stores = [line for line in mapping if line["kind"] in {Kind.STORE, Kind.CUSTOMER}]
        for line in _chosen(stores, event.stores):
            name, _ = self._store_of.get(line["org_unit"], ("", None))
            names = JOINED_BY.join(filter(None, (name, line["name"])))
            self._store_of[line["org_unit"]] = names, Kind(line["kind"])
        for line in _chosen([line for line in mapping if line["kind"] == "item"], event.items):
            for row, _ in rows:
                combo = row.category_option_id if settings.setup is Setup.CATEGORY_OPTION_COMBO else None
                if (element := line["data_elements"].get(row.metric.value)) is not None:
                    self._about.setdefault((element, combo), (line["name"], row.metric))
        # The values themselves know better, and of which other stores and items they are.
        for value in preview.values:
            self._store_of[value.org_unit] = value.store, value.origin.kind
            self._about[value.data_element, _combo_of(value)] = value.item, value.metric
        self._periods = _periods_of(preview, rows)

    def questions(self) -> Iterator[dict[str, object]]:
        """Yield what is to be asked, each question no longer than DHIS2 is asked at once."""
        periods = sorted(set().union(*self._periods.values()))
        if not periods:
            return
        for some in batched(self._store_of, max(1, MOST_PLACES // len(periods)), strict=False):
            yield {"org_units": list(some), "periods": periods, "skip_unknown": True}

    def vanished(self, held: Iterable[Line]) -> Iterator[ComparedValue]:
        """Yield what DHIS2 holds of this, though nothing would be sent."""
        for each in held:
            element, period, org_unit = each["data_element"], each["period"], each["org_unit"]
            combos = [combo for combo in (*_combos_of(each), None) if (element, combo) in self._about]
            if not combos or org_unit not in self._store_of:
                continue
            combo = combos[0]
            item, metric = self._about[element, combo]
            if period not in self._periods.get(metric, ()):
                continue
            store, kind = self._store_of[org_unit]
            category, attribute = (name if name == combo else None for name in _combos_of(each))
            value = DataValue(
                Column((element, category, attribute), period, Scheme.UID, metric, item),
                Origin(org_unit, store, kind),
                "",
            )
            yield ComparedValue(value, Beside.VANISHED, each["value"], _stored_by(each))


def _periods_of(preview: Preview, rows: Sequence[tuple[Any, Basis]]) -> dict[Metric, set[str]]:
    """Return the periods of each metric: all, where all rows are on one basis, else those that its basis has values in."""
    seen: dict[Metric, set[str]] = defaultdict(set)
    for value in preview.values:
        seen[value.metric].add(value.period)
    bases = {basis for _, basis in rows}
    of_basis: dict[Basis, set[str]] = {
        basis: set(preview.result.periods) if len(bases) == 1 else set() for basis in bases
    }
    for row, basis in rows:
        of_basis[basis] |= seen[row.metric]
    return {row.metric: of_basis[basis] | seen[row.metric] for row, basis in rows}


def _chosen(lines: Iterable[Line], names: Sequence[str] | None) -> Iterator[Line]:
    asked = None if names is None else set(map(folded, names))
    for line in lines:
        if asked is None or {folded(line["name"]), folded(line["code"])} & asked:
            yield line
