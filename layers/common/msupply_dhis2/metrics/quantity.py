"""Quantities: from packs in the database to exact millionths, and from there to text for DHIS2."""

import math
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from msupply_dhis2.domain.stock import MICRO

type Quantity = int | Fraction
"""An exact number of millionths of a unit, a month or a day, whatever the metric is in."""

MOST_UNITS = 10**12
"""No store holds or moves more of an item at once: what is more is a slip of the keyboard, or damaged."""

_DECIMALS = 6
_EXACTLY = Context(prec=60)
"""Room for the product of two floats, which print as 17 digits at most."""

_EXACT = 2**53
"""Up to here a float that is a whole number prints as that number."""


@lru_cache(maxsize=4_096)
def to_units(packs: float, pack_size: float | None) -> int:
    """Multiply packs, signed or not, and pack size into millionths of a unit.

    The numbers are taken as the decimals that they print as (0.1 is one tenth), multiplied exactly and
    rounded to 6 decimals, halves away from zero. No pack size makes 0 units, as 0 packs do, whatever the other number is:
    the reader counts it as a warning.

    Raises
    ------
    ValueError
        Packs or pack size are not finite, or make more than ``MOST_UNITS``.
    """
    if not pack_size or not packs:
        return 0
    if abs(packs) < _EXACT and abs(pack_size) < _EXACT and packs.is_integer() and pack_size.is_integer():
        units = int(packs) * int(pack_size) * MICRO
    elif math.isfinite(packs) and math.isfinite(pack_size):
        product = _EXACTLY.multiply(Decimal(str(packs)), Decimal(str(pack_size)))
        units = int(_EXACTLY.scaleb(product, _DECIMALS).to_integral_value(ROUND_HALF_UP))
    else:
        raise ValueError(f"{packs} packs of {pack_size}: not finite")
    if abs(units) > MOST_UNITS * MICRO:
        raise ValueError(f"{packs} packs of {pack_size}: more than {MOST_UNITS:,} units")
    return units


def format_value(value: Quantity, *, round_off: bool) -> str:
    """Write a quantity as a plain decimal number for DHIS2: no exponent, no ``-0``, no trailing zeros.

    It has at most 6 decimals, or none where it is to be rounded off, halves away from zero: 2.5 becomes 3.
    """
    if type(value) is int and not value % MICRO:
        # Nearly all of them.
        return str(value // MICRO)
    step = MICRO if round_off else 1
    numerator, denominator = abs(value.numerator), value.denominator * step
    whole, decimals = divmod((2 * numerator + denominator) // (2 * denominator) * step, MICRO)
    sign = "-" if value < 0 and (whole or decimals) else ""
    return f"{sign}{whole}.{decimals:0{_DECIMALS}d}".rstrip("0").rstrip(".")
