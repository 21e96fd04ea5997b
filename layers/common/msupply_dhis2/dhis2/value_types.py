"""A value in the shape that its data element's value type takes.

Servers differ in what they let pass (2.43 takes 5.0 for a whole number, older ones do not), but what leaves here
is taken by all of them, and is the same number: nothing is rounded.
"""

import math
import re
from decimal import Decimal

from msupply_dhis2.dhis2.error_catalogue import FRACTION, TRUE_ONLY
from msupply_dhis2.domain.outcome import Reason

_PLAIN = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_LARGEST_INTEGER = 2**31 - 1

_WHOLE_NUMBERS = {
    "INTEGER": (-_LARGEST_INTEGER - 1, _LARGEST_INTEGER),
    "INTEGER_POSITIVE": (1, _LARGEST_INTEGER),
    "INTEGER_ZERO_OR_POSITIVE": (0, _LARGEST_INTEGER),
    "INTEGER_NEGATIVE": (-_LARGEST_INTEGER - 1, -1),
}
_RANGES: dict[str, tuple[float, float]] = {
    "NUMBER": (-math.inf, math.inf),
    "PERCENTAGE": (0, 100),
    "UNIT_INTERVAL": (0, 1),
    **_WHOLE_NUMBERS,
}
NUMERIC_TYPES = frozenset(_RANGES)
"""The value types whose zeros older servers drop."""

_FAULTS = {
    "NUMBER": "Data value is not numeric",
    "INTEGER": "Data value is not an integer",
    "INTEGER_POSITIVE": "Data value is not a positive integer",
    "INTEGER_ZERO_OR_POSITIVE": "value_not_zero_or_positive_integer",
    "INTEGER_NEGATIVE": "Data value is not a negative integer",
    "PERCENTAGE": "Data value is not a percentage",
    "UNIT_INTERVAL": "Data value is not a unit interval",
    "BOOLEAN": "Data value is not a boolean",
    "TRUE_ONLY": "Data value is not true",
}
"""What servers up to 2.42 say is wrong with a value of each type."""

VALUE_TYPE_FAULT = "E7619"


def shape(text: str, value_type: str, data_element: str = "") -> str | Reason:
    """Write a plain decimal number (``156.666667``, ``0``, ``-3``) as its value type takes it.

    Returns
    -------
    str or Reason
        The same number; 5.0 is 5, and 1 and 0 are ``true`` and ``false`` of a boolean. For types that are no
        numbers the text as it is: the server decides. A reason where the type cannot hold the value:
        ``fraction``, ``true_only`` (a 0, which is told by having no value), or ``E7619`` as a server would.
    """
    if value_type not in _FAULTS:
        return text
    number = Decimal(text) if _PLAIN.fullmatch(text) else None
    if number is not None and value_type in _RANGES:
        lowest, highest = _RANGES[value_type]
        if lowest <= number <= highest:
            whole = value_type not in _WHOLE_NUMBERS or number == number.to_integral_value()
            return _written(text) if whole else _fraction(text, value_type, data_element)
    elif number == 1:
        return "true"
    elif number == 0:
        return "false" if value_type == "BOOLEAN" else _omitted_zero(data_element)
    return Reason(
        VALUE_TYPE_FAULT,
        f"Value must match value type of data element `{data_element}`: `{_FAULTS[value_type]}` (the value is "
        f"{text}, the value type {value_type})",
    )


def _fraction(text: str, value_type: str, data_element: str) -> Reason:
    return Reason(
        FRACTION,
        f"The value is {text}, and the value type of data element `{data_element}` is {value_type}",
    )


def _omitted_zero(data_element: str) -> Reason:
    return Reason(
        TRUE_ONLY,
        f"Data element `{data_element}` takes only `true` (Yes only): a 0 is told by having no value",
    )


def _written(text: str) -> str:
    """Leave out zeros that say nothing: before the number, after the decimals, and the minus of a zero."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return number if number == "0" else sign + number
