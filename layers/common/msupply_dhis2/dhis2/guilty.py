"""Which values of a refused call are to blame, from what DHIS2's answer names.

From 2.43 one wrong value refuses every value of its group, or of the call.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from msupply_dhis2.dhis2.import_request import SentValue
from msupply_dhis2.domain.data_value import DataValueKey
from msupply_dhis2.domain.outcome import Extent, Reason

type Places = tuple[int, ...]
type Reasons = tuple[Reason, ...]

_FOR_ALL = {f"E{code}" for code in (7600, 7601, 7602, 8002, 8003, 8004, 8005, 8008, 8009, 8010, 8126, 8127)}
"""Codes about the data set or the call as a whole: no part of it would fare better."""

_FIELD_OF_UNKNOWN = {
    "E8103": "data_element",
    "E8104": "data_element",
    "E8106": "org_unit",
    "E8107": "org_unit",
    "E8108": "category_option_combo",
    "E8109": "category_option_combo",
    "E8110": "attribute_option_combo",
    "E8111": "attribute_option_combo",
}
_FIELDS_OF_GROUP = {
    "E8011": ("org_unit",),
    "E8012": ("attribute_option_combo", "category_option_combo"),
    "E8020": ("data_element",),
    "E8021": ("period",),
    "E8022": ("org_unit",),
    "E8023": ("attribute_option_combo",),
    "E8024": ("category_option_combo",),
    "E8025": ("attribute_option_combo", "org_unit"),
    "E8030": ("period", "org_unit"),
    "E8031": ("org_unit", "period"),
    "E8032": ("attribute_option_combo", "period"),
    "E8033": ("org_unit", "period", "attribute_option_combo"),
}
"""What decides whether a row is guilty of the code for which its group is refused: rows that have these
fields in common are all guilty, or none is. The other codes may be about any field.

E8012 names the category option, which is a part of an option combo. E8030 names the period only, although expiry is
for each org unit and period."""

_LOCKED = "E8030"
_FIELDS = ("data_element", "org_unit", "period", "category_option_combo", "attribute_option_combo")
_MAY_BE_OMITTED = {"E8023": "attribute_option_combo", "E8024": "category_option_combo"}
"""What is missing in a row where the answer names only the default combo, which nobody sent."""

_WORD = re.compile(r"\w+")


def is_for_all(reasons: Iterable[Reason]) -> bool:
    """Whether no part of a call that is refused for these reasons would fare better."""
    return any(reason.code in _FOR_ALL for reason in reasons)


def halves[Each](places: tuple[Each, ...]) -> list[tuple[Each, ...]]:
    """Return the first and the second half."""
    middle = len(places) // 2
    return [places[:middle], places[middle:]]


@dataclass(frozen=True, slots=True)
class GuiltySearch:
    """Searches among rows, by their places.

    ``lock_exceptions`` are org unit and period of the exceptions from the expiry days, ``""`` for all org units; ``None``
    where not known.
    """

    rows: Mapping[int, SentValue]
    lock_exceptions: Collection[tuple[str, str]] | None

    def guilty(
        self, certain: Mapping[int, Reasons], doubtful: Mapping[int, Reasons]
    ) -> tuple[dict[int, Reasons], Places]:
        """Find the values that the answer names, and those that share with them what is wrong.

        Returned are the guilty, and those among whom the others are that the answer means, where it tells so much.
        """
        guilty = dict(certain)
        suspects: dict[int, None] = {}
        for place, reasons in certain.items():
            for reason in reasons:
                name = _FIELD_OF_UNKNOWN.get(reason.code)
                for other in doubtful if name else ():
                    if self._field(other, str(name)) == self._field(place, str(name)):
                        guilty[other] = (reason,)
        for reason in dict.fromkeys(reason for reasons in doubtful.values() for reason in reasons):
            if reason.extent is not Extent.GROUP:
                continue
            among = [place for place, why in doubtful.items() if reason in why]
            meant, is_certain = self._meant(reason, among)
            if is_certain:
                for place in meant:
                    guilty[place] = (*guilty.get(place, ()), replace(reason, extent=Extent.VALUE))
            else:
                suspects |= dict.fromkeys(meant)
        return guilty, tuple(place for place in suspects if place not in guilty)

    def _meant(self, reason: Reason, places: Sequence[int]) -> tuple[Sequence[int], bool]:
        """Find those of the values that a reason can mean, and tell whether it means each of them."""
        words = set(_WORD.findall(reason.text))
        deciding = _FIELDS_OF_GROUP.get(reason.code, ())
        named = [name for name in _FIELDS if any(self._field(place, name) in words for place in places)]
        omitted = _MAY_BE_OMITTED.get(reason.code)
        if omitted is not None and omitted not in named:
            # It names the default combo, which nobody sent: the rows that have none.
            lacking = [place for place in places if self._field(place, omitted) is None]
            places, deciding = lacking or places, () if lacking else deciding
        found = [place for place in places if all(self._field(place, name) in words for name in named)]
        if reason.code == _LOCKED and "period" in named and self.lock_exceptions is not None:
            # Refused together: the exceptions may be innocent. Alone: then it is not because of the expiry days.
            bound = [place for place in found if not self._is_excepted(self.rows[place].key)]
            return bound or found, True
        if reason.code in _FIELDS_OF_GROUP:
            unnamed = [name for name in deciding if name not in named]
            distinct = {tuple(self._field(place, name) for name in unnamed) for place in found}
            return found, len(distinct) == 1
        # What all have in common, the period say, tells nothing where it is not known what decides.
        return (found, True) if len(found) < len(places) else ((), False)

    def _is_excepted(self, key: DataValueKey) -> bool:
        """Whether the expiry days do not count for the key's org unit and period."""
        return not {(key.org_unit, key.period), ("", key.period)}.isdisjoint(self.lock_exceptions or ())

    def parts(self, places: Places, reasons: Sequence[Reason] = ()) -> list[Places]:
        """Halve along a field that decides, whose value the guilty ones share; else along the one with the most values."""
        values = {name: list(dict.fromkeys(self._field(place, name) for place in places)) for name in _FIELDS}
        org_units = values["org_unit"]
        if len(org_units) > 1 and any(reason.code == _LOCKED for reason in reasons):
            # Nearly all of them are guilty as a rule: halving would cost twice as many calls.
            return [self._having("org_unit", {org_unit}, places) for org_unit in org_units]
        deciding = [name for reason in reasons for name in _FIELDS_OF_GROUP.get(reason.code, ())]
        for name in (*deciding, *sorted(_FIELDS, key=lambda field: -len(values[field]))):
            if len(values[name]) > 1:
                return [self._having(name, set(half), places) for half in halves(tuple(values[name]))]
        return halves(places)

    def _field(self, place: int, name: str) -> str | None:
        value: str | None = getattr(self.rows[place].key, name)
        return value

    def _having(self, name: str, values: Collection[str | None], places: Places) -> Places:
        return tuple(place for place in places if self._field(place, name) in values)
