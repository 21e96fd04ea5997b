"""Texts that look the same: what is told of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.lookalikes import LookAlikes, difference

ZERO_WIDTH_SPACE = "\u200b"


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ("OU\u00a0S1", "OU S1", "Character 3 is a NO-BREAK SPACE (U+00A0) in mSupply, a space in DHIS2."),
        (
            f"OU{ZERO_WIDTH_SPACE}_S1",
            "OU_S1",
            "Character 3 is a ZERO WIDTH SPACE (U+200B) in mSupply, nothing in DHIS2.",
        ),
        ("OU_S1", "OU_S1 ", "At the end: nothing in mSupply, a space in DHIS2."),
        (
            "OU_S1",
            "\ufeffOU_S1",
            "Before character 1: nothing in mSupply, a ZERO WIDTH NO-BREAK SPACE (U+FEFF) in DHIS2.",
        ),
        (
            "Ope\u0301ra",
            "Op\u00e9ra",
            (
                "Characters 3 to 4 are a LATIN SMALL LETTER E (U+0065) and a COMBINING ACUTE ACCENT (U+0301) in mSupply, a LATIN "
                "SMALL LETTER E WITH ACUTE (U+00E9) in DHIS2."
            ),
        ),
        (
            "\u041eU_S1",
            "OU_S1",
            "Character 1 is a CYRILLIC CAPITAL LETTER O (U+041E) in mSupply, a LATIN CAPITAL LETTER O (U+004F) in DHIS2.",
        ),
        (
            "KAM\u039f",
            "KAMO",
            "Character 4 is a GREEK CAPITAL LETTER OMICRON (U+039F) in mSupply, a LATIN CAPITAL LETTER O (U+004F) in DHIS2.",
        ),
        (
            "KAM0",
            "KAMO",
            "Character 4 is a DIGIT ZERO (U+0030) in mSupply, a LATIN CAPITAL LETTER O (U+004F) in DHIS2.",
        ),
        (
            "OU-S1",
            "OU_S1",
            "Character 3 is a HYPHEN-MINUS (U+002D) in mSupply, a LOW LINE (U+005F) in DHIS2.",
        ),
        ("OU\tS1", "OU S1", "Character 3 is a control character (U+0009) in mSupply, a space in DHIS2."),
        ("OU_Kamo", "OU_KAMO", "Only capital and small letters differ, first at character 5."),
    ],
)
def test_first_difference(ours: str, theirs: str, said: str) -> None:
    assert difference(ours, theirs) == said
    assert LookAlikes(["other", theirs]).to(ours) == theirs


@pytest.mark.parametrize(
    ("ours", "theirs"), [("KAMO", "KAMO"), ("KAMO", "OPUA"), ("OU_1", "OU_2"), ("", "x")]
)
def test_nothing_to_tell(ours: str, theirs: str) -> None:
    assert difference(ours, theirs) is None
    assert LookAlikes([theirs]).to(ours) is None


def test_many_differences() -> None:
    said = difference("a-b-c-d-e", "a b c d e", here="the settings")
    assert said is not None
    assert said.count("in the settings") == 3
    assert said.endswith("They differ in 1 more place.")


@given(st.text(), st.text())
def test_any_texts(ours: str, theirs: str) -> None:
    said = difference(ours, theirs)
    assert said is None or (ours != theirs and said.endswith("."))
    assert difference(ours, ours) is None
