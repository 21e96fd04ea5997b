"""Lists as they stand in sentences."""

import pytest

from msupply_dhis2.text import all_of, joined, listed


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["Kamo", "Opua"], "Kamo, Opua"),
        (["Kamo", "Opua", "Rawene"], "Kamo, Opua and 1 more"),
        (["Gel, 5 %", "Salt"], "Gel, 5 %; Salt"),
        (["Gel, 5 %", "Salt", "Soap"], "Gel, 5 %; Salt; and 1 more"),
        (["Salt", "Soap and gel", "Oil"], "Salt; Soap and gel; and 1 more"),
    ],
)
def test_names_with_commas(names: list[str], written: str) -> None:
    assert listed(names, 2) == written


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["Kamo"], "Kamo"),
        (["Kamo, North"], "Kamo, North"),
        (["1,234 stores", "2 items"], "1,234 stores and 2 items"),
        (["Kamo", "Opua"], "Kamo and Opua"),
        (["Kamo", "Opua", "Rawene"], "Kamo, Opua and Rawene"),
        (["Kamo, North", "Opua"], "Kamo, North; and Opua"),
        (["Kamo", "Opua", "Salt, 5 %"], "Kamo; Opua; and Salt, 5 %"),
        (["Mother and child", "Opua"], "Mother and child; and Opua"),
    ],
)
def test_several_names(names: list[str], written: str) -> None:
    assert joined(names) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "all 0 stores"), (1, "the only store"), (2, "all 2 stores"), (1234, "all 1,234 stores")],
)
def test_all_of_one(number: int, written: str) -> None:
    assert all_of(number, "store") == written
