"""Every pair of choices by ``make test``, every combination by ``make test-slow``."""

from collections.abc import Iterable
from itertools import product

import pytest
from _pytest.mark import ParameterSet


def in_pairs(first: Iterable[str], second: Iterable[str], third: Iterable[str]) -> list[ParameterSet]:
    """Return all combinations of three choices; those are slow that hold no pair which others do not.

    Each of the first meets each of the second and of the third, each of the second each of the third where the first
    has so many choices.
    """
    firsts, seconds, thirds = list(first), list(second), list(third)
    chosen = {
        (each, seconds[place % len(seconds)], thirds[(place + shift) % len(thirds)])
        for shift, each in enumerate(firsts)
        for place in range(max(len(seconds), len(thirds)))
    }
    return [
        pytest.param(*each, id="-".join(each), marks=() if each in chosen else pytest.mark.slow)
        for each in product(firsts, seconds, thirds)
    ]
