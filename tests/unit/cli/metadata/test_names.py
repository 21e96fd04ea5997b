import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.metadata.names import CODE_LIMIT, NAME_LIMIT, NameBook, cut, fit_code, length, uid

KHMER = "ថ្នាំប៉ារ៉ាសេតាម៉ុល ៥០០ មីលីក្រាម គ្រាប់ "
anything = st.text(min_size=1, max_size=400)


@given(st.text(), st.text())
def test_identifier(kind: str, key: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]{10}", uid(kind, key))
    assert uid(kind, key) == uid(kind, key)


def test_kind_and_code_count() -> None:
    made = {uid(kind, f"SOH_{number}") for kind in ("dataElements", "indicators") for number in range(20_000)}
    assert len(made) == 40_000


@given(anything, st.integers(1, 60))
def test_cut_text_fits(text: str, limit: int) -> None:
    assert length(cut(text, limit)) <= limit
    assert text.startswith(cut(text, limit))


def test_accents_stay_whole() -> None:
    # The vowel sign belongs to the letter before it.
    assert cut("កា" * 3, 3) == "កា"


def test_long_characters_count_twice() -> None:
    assert cut("💊💊💊", 5) == "💊💊"


@given(st.lists(st.tuples(anything, st.text(min_size=1, max_size=50)), max_size=20))
def test_unique_names(wanted: list[tuple[str, str]]) -> None:
    book = NameBook()
    made = [
        book.enter(name, tag, limit, str(place))
        for place, (name, tag) in enumerate(wanted)
        for limit in (50,)
    ]
    assert all(length(name) <= 50 for name in made)
    assert len({name.casefold() for name in made}) == len(made)


@pytest.mark.parametrize("name", ["x" * 300, KHMER * 10, "Amoxicillin " * 30])
def test_names_of_300_letters(name: str) -> None:
    book = NameBook()
    first, second = (book.enter(name, tag, NAME_LIMIT, tag) for tag in ("368c74bf", "14ef8a9c"))
    assert first.endswith(" (368c74bf)")
    assert second.endswith(" (14ef8a9c)")
    assert max(length(first), length(second)) <= NAME_LIMIT


def test_fitting_name_stays() -> None:
    assert NameBook().enter("Amoxicillin 250mg tabs", "368c74bf", 50, "a") == "Amoxicillin 250mg tabs"


def test_capitals_are_ignored() -> None:
    book = NameBook({"PARACETAMOL": "theirs"})
    assert book.enter("Paracetamol", "12a0bf21", 50, "ours") == "Paracetamol (12a0bf21)"


def test_own_name_is_free() -> None:
    assert NameBook({"Paracetamol": "ours"}).enter("Paracetamol", "12a0bf21", 50, "ours") == "Paracetamol"


def test_cut_codes_differ() -> None:
    codes = [fit_code(f"MSUPPLY_AVAIL_{'x' * 60}{end}") for end in "ab"]
    assert len(set(codes)) == 2
    assert all(length(code) <= CODE_LIMIT for code in codes)
    assert fit_code("MSUPPLY_AVAIL_368c74bf") == "MSUPPLY_AVAIL_368c74bf"
