"""Quantities: exact from the database to DHIS2."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.stock import MICRO
from msupply_dhis2.metrics.quantity import MOST_UNITS, format_value, to_units


@pytest.mark.parametrize(
    ("packs", "pack_size", "units"),
    [
        (3.0, 10.0, 30_000_000),
        (3, 10, 30_000_000),
        (0.1, 1.0, 100_000),
        (-2.5, 4.0, -10_000_000),
        (1 / 3, 1.0, 333_333),
        (0.0000005, 1.0, 1),
        (-0.0000005, 1.0, -1),
        (0.00000049, 1.0, 0),
        (1e-7, 1e7, 1_000_000),
        (1e12, 1.0, 10**18),
        (1e20, -1e-8, -(10**18)),
        (1e12 + 0.0001, 0.0, 0),
        (0.0, 5.0, 0),
        (5.0, 0.0, 0),
        (5.0, None, 0),
        (float("nan"), 0.0, 0),
        (float("inf"), None, 0),
        (0.0, float("inf"), 0),
    ],
)
def test_packs_times_pack_size(packs: float, pack_size: float | None, units: int) -> None:
    assert to_units(packs, pack_size) == units


@pytest.mark.parametrize(
    ("packs", "pack_size"),
    [(5.0, float("nan")), (float("inf"), 5.0), (float("-inf"), 5.0), (1.0, float("inf"))],
)
def test_not_finite(packs: float, pack_size: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        to_units(packs, pack_size)


@pytest.mark.parametrize(
    ("packs", "pack_size"), [(1e12 + 0.001, 1.0), (1e7, 100_001.0), (-1e13, 1.0), (1e300, 1e300), (1e20, 1.0)]
)
def test_beyond_any_store(packs: float, pack_size: float) -> None:
    with pytest.raises(ValueError, match="more than 1,000,000,000,000 units"):
        to_units(packs, pack_size)


def test_float_dust_is_zero() -> None:
    assert to_units(0.1, 1.0) + to_units(0.2, 1.0) - to_units(0.3, 1.0) == 0


@given(
    st.floats(min_value=-1e9, max_value=1e9, allow_nan=False),
    st.one_of(
        st.floats(min_value=1e-3, max_value=1e6, allow_nan=False),
        st.integers(1, 1000).map(float),
    ),
)
def test_rounds_half_away_from_zero(packs: float, pack_size: float) -> None:
    with localcontext(Context(prec=800)):
        exact = Decimal(repr(packs)) * Decimal(repr(pack_size))
        expected = exact.quantize(Decimal("0.000001"), ROUND_HALF_UP)
        if abs(expected) > MOST_UNITS:
            with pytest.raises(ValueError, match="more than"):
                to_units(packs, pack_size)
        else:
            assert Decimal(to_units(packs, pack_size)) / MICRO == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (40 * MICRO, "40"),
        (1_500_000, "1.5"),
        (Fraction(100 * MICRO, 3), "33.333333"),
        (Fraction(200 * MICRO, 3), "66.666667"),
        (Fraction(1, 2), "0.000001"),
        (Fraction(-1, 2), "-0.000001"),
        (Fraction(-1, 3), "0"),
        (-250_000, "-0.25"),
        (-7 * MICRO, "-7"),
        (10**30 * MICRO, "1" + "0" * 30),
        (100 * MICRO, "100"),
    ],
)
def test_plain_decimal(value: int | Fraction, text: str) -> None:
    assert format_value(value, round_off=False) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2_500_000, "3"),
        (2_499_999, "2"),
        (-2_500_000, "-3"),
        (-400_000, "0"),
        (Fraction(100 * MICRO, 3), "33"),
        # 2.4999999…, which at six decimals would be 2.5: only the final value is rounded, and once.
        (Fraction(2_500_000) - Fraction(1, 10), "2"),
        (0, "0"),
    ],
)
def test_round_off_setting(value: int | Fraction, text: str) -> None:
    assert format_value(value, round_off=True) == text


@given(value=st.one_of(st.integers(), st.fractions()), round_off=st.booleans())
def test_wire_precision(*, value: int | Fraction, round_off: bool) -> None:
    text = format_value(value, round_off=round_off)

    assert re.fullmatch(r"-?\d+(\.\d{1,6})?", text)
    assert text != "-0"
    assert not re.search(r"\.\d*0$", text)
    unit = MICRO if round_off else 1
    assert abs(Fraction(text) * MICRO - value) <= Fraction(unit, 2)
