"""Whether a value fits the metadata of its data set.

A value is rejected locally only where the server would surely refuse it, or would store it where nobody looks
for it: up to 2.42 in a data set other than the one in the settings, or in an org unit that is closed. In doubt
(near the end of the expiry days, where data are approved) it is sent. The words and codes are those of a server up to
2.42, which names what is wrong with a value rather than with all values of a call.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from msupply_dhis2.dhis2.error_catalogue import FRACTION, TRUE_ONLY
from msupply_dhis2.dhis2.import_request import SentValue
from msupply_dhis2.dhis2.metadata import MetadataCache
from msupply_dhis2.dhis2.models import DataElement, HasCategoryCombo, Server
from msupply_dhis2.dhis2.period_rules import DATA_ELEMENT, UNTIMELY, PeriodRules
from msupply_dhis2.domain.choices import OptionComboField, Scheme
from msupply_dhis2.domain.data_value import DataValue, DataValueKey, Identifier
from msupply_dhis2.domain.outcome import Reason, ValueOutcome, rejected

_PLAIN = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_LARGEST_INTEGER = 2**31 - 1

_NUMBERS: dict[str, tuple[float, float, str]] = {
    "NUMBER": (-math.inf, math.inf, "Data value is not numeric"),
    "PERCENTAGE": (0, 100, "Data value is not a percentage"),
    "UNIT_INTERVAL": (0, 1, "Data value is not a unit interval"),
    "INTEGER": (-_LARGEST_INTEGER - 1, _LARGEST_INTEGER, "Data value is not an integer"),
    "INTEGER_POSITIVE": (1, _LARGEST_INTEGER, "Data value is not a positive integer"),
    "INTEGER_ZERO_OR_POSITIVE": (0, _LARGEST_INTEGER, "value_not_zero_or_positive_integer"),
    "INTEGER_NEGATIVE": (-_LARGEST_INTEGER - 1, -1, "Data value is not a negative integer"),
}
"""The lowest and the highest value of each type, and what servers up to 2.42 say is wrong with another one."""

NUMERIC_TYPES = frozenset(_NUMBERS)
"""The value types whose zeros older servers drop."""

_WORDS: dict[str, tuple[Mapping[Decimal | None, str], str]] = {
    "BOOLEAN": ({Decimal(1): "true", Decimal(0): "false"}, "Data value is not a boolean"),
    "TRUE_ONLY": ({Decimal(1): "true"}, "Data value is not true"),
}

_WHOLE_NUMBERS = {name for name in _NUMBERS if name.startswith("INTEGER")}
_VALUE_TYPE_FAULT = "E7619"
_AVERAGES = frozenset({"AVERAGE", "AVERAGE_SUM_ORG_UNIT"})
_SHOWN = 3


type Validated = SentValue | ValueOutcome
"""What may be sent: in UIDs, also of the default option combos, and in the shape of its value type; or why it may not."""


class _What(NamedTuple):
    """A data element with its category and its attribute option combo."""

    faults: Sequence[Reason]
    element: DataElement | None = None
    combos: tuple[str, str] = ("", "")


class _Where(NamedTuple):
    """An org unit and a period."""

    org_unit: str
    period: str
    faults: Sequence[Reason]
    is_timely: bool


class _Kind(NamedTuple):
    """An option combo of a data element or of the data set, and what a server says of one that does not fit."""

    name: str
    unknown: str
    not_part: str
    of: str
    other: str


_CATEGORY = _Kind("Category", "E7613", "E7634", "data element", "an attribute option combo, of the data set")
_ATTRIBUTE = _Kind(
    "Attribute", "E7615", "E7635", "data sets of data element", "a category option combo, of the data element"
)


class ValueRules:
    """Decides about values at one moment; what several have in common is decided once."""

    def __init__(
        self, known: MetadataCache, option_combo_field: OptionComboField, now: datetime, *, deletes: bool
    ) -> None:
        self._known = known
        self._option_combo_field = option_combo_field
        self._periods = PeriodRules(known, now)
        self._data_set = known.data_set
        self._deletes = deletes
        self._what = cache(self._find_what)
        self._where = cache(self._find_where)

    def has_unseen_combos(self, data_elements: Collection[str]) -> bool:
        """Whether the option combos of the data set, or of one of them, are hidden from the user."""
        known = self._known.data_elements
        owners = (self._data_set, *(known[each] for each in data_elements if each in known))
        return not all(owner.option_combos for owner in owners)

    def reject_all(self, values: Sequence[DataValue]) -> tuple[ValueOutcome, ...] | None:
        """Reject all values where none can fit, whatever their option combos are; ``None`` where one may.

        So nothing is sent to periods of another type than the data set's, to a data set without data elements, or to one
        that none of the org units is assigned to.
        """
        outcomes = []
        for value in values:
            faults = [*self._where(value.org_unit, value.period).faults]
            if value.data_element not in self._known.data_elements:
                faults.append(self._strange_data_element(value.data_element))
            if not faults:
                return None
            outcomes.append(_rejected(value, faults))
        return tuple(outcomes)

    def has_expired(self, periods: Collection[str]) -> bool:
        """Whether a period is past the expiry days, or nearly: then the exceptions are worth reading."""
        found = filter(None, map(self._periods.find, periods))
        return any(map(self._periods.may_be_expired, found))

    def validate(self, values: Sequence[DataValue]) -> tuple[Validated, ...]:
        """Decide about values that are sent together."""
        first: dict[DataValueKey, DataValue] = {}
        return tuple([self._validate(value, first) for value in values])

    def _validate(self, value: DataValue, first: dict[DataValueKey, DataValue]) -> Validated:
        what = self._what(value.identifier, value.column.option_combo_scheme)
        where = self._where(value.org_unit, value.period)
        faults, element = [*what.faults, *where.faults], what.element
        if element is None:
            return _rejected(value, faults)
        # Up to 2.42 the open periods of other data sets may count for a data element as well.
        if not self._known.server.imports_by_group and element.is_in_another_than(self._data_set.id):
            faults = [each for each in faults if each.code not in UNTIMELY]
        shaped = shape(value.value, element.value_type, value.data_element)
        if isinstance(shaped, Reason) and shaped.code != TRUE_ONLY:
            faults.append(shaped)
        if faults:
            return _rejected(value, faults)
        key = DataValueKey(element.id, where.period, where.org_unit, *what.combos)
        twin = first.setdefault(key, value)
        if twin is not value:
            return rejected(_twice(twin, value), was_sent=False)
        if isinstance(shaped, Reason):
            return SentValue(key, "")
        # The default option combos are named too: up to 2.42 a system setting can insist on it, and none forbids it.
        vanishes = shaped == "0" and not self._deletes and drops_zeros_of(self._known.server, element)
        return SentValue(key, shaped, where.is_timely, vanishes)

    # What: the data element and its option combos

    def _find_what(self, identifier: Identifier, scheme: Scheme) -> _What:
        data_element = identifier[0]
        element = self._known.data_elements.get(data_element)
        if element is None:
            return _What((self._strange_data_element(data_element),))
        category, attribute = self._places(identifier, scheme, element)
        of_element = element.find_combo(category, scheme)
        of_data_set = self._data_set.find_combo(attribute, scheme)
        if of_element is not None and of_data_set is not None:
            return _What((), element, (of_element.id, of_data_set.id))
        faults = []
        if of_element is None:
            faults.append(self._no_combo(_CATEGORY, category, scheme, self._data_set))
        if of_data_set is None:
            faults.append(self._no_combo(_ATTRIBUTE, attribute, scheme, element))
        return _What(faults, element)

    def _strange_data_element(self, identifier: str) -> Reason:
        others = self._known.other_data_elements
        if identifier in others and others[identifier] is None:
            hint = self._known.hint(identifier, "data element", self._known.schemes.data_element)
            return Reason("E7610", f"Data element not found or not accessible: `{identifier}`{hint}")
        said = f"Data element: `{identifier}` is not part of dataset(s): `{self._data_set.id}`"
        return Reason("E7633", said)

    def _places(
        self, identifier: Identifier, scheme: Scheme, element: DataElement
    ) -> tuple[str | None, str | None]:
        """Return the category and the attribute option combo, in the places where they belong."""
        _, category, attribute = identifier
        given = category or attribute
        if self._option_combo_field is not OptionComboField.AUTO or given is None or (category and attribute):
            return category, attribute
        if self._data_set.find_combo(given, scheme):
            return None, given
        if element.find_combo(given, scheme):
            return given, None
        # It belongs to neither: where there is something to choose from, it was meant to be.
        return (None, given) if len(self._data_set.option_combos) > 1 else (given, None)

    def _no_combo(
        self, kind: _Kind, identifier: str | None, scheme: Scheme, elsewhere: HasCategoryCombo
    ) -> Reason:
        meant = self._known.unknown_combos.get((scheme, identifier or ""))
        if meant is None:
            hint = f". It is {kind.other}" if identifier and elsewhere.find_combo(identifier, scheme) else ""
            before = f"{kind.name} option combo: `{identifier or 'null'}` must be part of category combo of {kind.of}"
            return Reason(kind.not_part, f"{before}: `{DATA_ELEMENT}`{hint}")
        if meant:
            # An option, which is easily taken for its combo.
            meant = [combo for combo in meant if combo.category_combo in self._known.combos_in_use] or meant
            names = " or ".join(f"{combo.id} ({combo.name})" for combo in meant[:_SHOWN])
            hint = f". `{identifier}` is a category option; its category option combo is {names}"
        else:
            hint = self._known.hint(str(identifier), "option combo", scheme)
        text = f"{kind.name} option combo not found or not accessible for writing data: `{identifier}`{hint}"
        return Reason(kind.unknown, text)

    # Where: the org unit and the period

    def _find_where(self, identifier: str, label: str) -> _Where:
        known = self._known
        assigned = known.org_units.get(identifier)
        org_unit = assigned or known.other_org_units.get(identifier)
        faults = [*self._periods.faults(label, org_unit, deletes=self._deletes)]
        if assigned is None:
            faults.append(self._strange_org_unit(identifier))
        if org_unit is not None and known.user.is_kept_out_of(org_unit):
            said = f"Organisation unit: `{identifier}` not in hierarchy of current user: `{known.user.id}`"
            faults.append(Reason("E7617", said))
        period = self._periods.find(label)
        is_timely = period is not None and not faults
        return _Where(org_unit.id if org_unit else "", period.label if period else label, faults, is_timely)

    def _strange_org_unit(self, identifier: str) -> Reason:
        others = self._known.other_org_units
        if identifier in others and others[identifier] is None:
            hint = self._known.hint(identifier, "org unit", self._known.schemes.org_unit)
            return Reason("E7612", f"Organisation unit not found or not accessible: `{identifier}`{hint}")
        said = f"must be assigned through data sets to organisation unit: `{identifier}`"
        return Reason("E7636", f"Data element: `{DATA_ELEMENT}` {said}")


def drops_zeros_of(server: Server, element: DataElement) -> bool:
    """Whether this server does not keep the zeros of this data element."""
    return (
        server.drops_zeros
        and not element.zero_is_significant
        and element.value_type in NUMERIC_TYPES
        and element.aggregation_type not in _AVERAGES
    )


def _rejected(value: DataValue, faults: Iterable[Reason]) -> ValueOutcome:
    """Reject a value for what a server would say first: its checks come in the order of their codes."""
    first = min(faults, key=lambda each: _VALUE_TYPE_FAULT if each.code == FRACTION else each.code)
    text = first.text.replace(DATA_ELEMENT, value.data_element)
    return rejected(replace(first, text=text), was_sent=False)


def _twice(first: DataValue, second: DataValue) -> Reason:
    cell = f"data element `{second.data_element}`, org unit `{second.org_unit}`, period `{second.period}`"
    said = f"{first.names} and {second.names} are one and the same value in DHIS2 ({cell}): only the first was sent"
    return Reason("E8128", said)


def shape(text: str, value_type: str, data_element: str = "") -> str | Reason:
    """Write a plain decimal number (``156.666667``, ``0``, ``-3``) as its value type takes it, or return why it cannot.

    Servers differ in what they let pass (2.43 takes 5.0 for a whole number, older ones do not), but what leaves here is
    taken by all of them, and is the same number: nothing is rounded. 5.0 is 5; 1 and 0 are ``true`` and ``false`` of a
    boolean. For types that are no numbers it is the text as it is: the server decides.
    """
    number = Decimal(text) if _PLAIN.fullmatch(text) else None
    if value_type in _WORDS:
        words, fault = _WORDS[value_type]
        if number in words:
            return words[number]
        if number == 0:
            said = f"Data element `{data_element}` takes only `true` (Yes only): a 0 is sent as no value"
            return Reason(TRUE_ONLY, said)
    elif value_type in _NUMBERS:
        lowest, highest, fault = _NUMBERS[value_type]
        if number is not None and lowest <= number <= highest:
            if value_type not in _WHOLE_NUMBERS or number == number.to_integral_value():
                return _plain(number)
            said = f"The value is {text}, and the value type of data element `{data_element}` is {value_type}"
            return Reason(FRACTION, said)
    else:
        return text
    said = f"Value must match value type of data element `{data_element}`: `{fault}`"
    return Reason(_VALUE_TYPE_FAULT, f"{said} (the value is {text}, the value type {value_type})")


def _plain(number: Decimal) -> str:
    """Leave out zeros that say nothing, and the minus of a zero."""
    text = f"{number or Decimal():f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
