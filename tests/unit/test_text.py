"""Lists as they stand in sentences."""

import pytest

from msupply_dhis2.text import listed


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["Kamo", "Opua"], "Kamo, Opua"),
        (["Kamo", "Opua", "Rawene"], "Kamo, Opua and 1 more"),
        (["Gel, 5 %", "Salt"], "Gel, 5 %; Salt"),
        (["Gel, 5 %", "Salt", "Soap"], "Gel, 5 %; Salt; and 1 more"),
    ],
)
def test_names_with_commas_of_their_own_are_separated_by_semicolons(names: list[str], written: str) -> None:
    assert listed(names, 2) == written
