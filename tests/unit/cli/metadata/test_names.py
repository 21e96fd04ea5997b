import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.metadata.names import CODE_LIMIT, NAME_LIMIT, NameBook, cut, fit_code, length, uid

KHMER = "ថ្នាំប៉ារ៉ាសេតាម៉ុល ៥០០ មីលីក្រាម គ្រាប់ "
anything = st.text(min_size=1, max_size=400)


@given(st.text(), st.text())
def test_an_identifier_is_one_of_dhis2_s(kind: str, key: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]{10}", uid(kind, key))
    assert uid(kind, key) == uid(kind, key)


def test_other_kinds_and_codes_have_others() -> None:
    made = {uid(kind, f"SOH_{number}") for kind in ("dataElements", "indicators") for number in range(20_000)}
    assert len(made) == 40_000


@given(anything, st.integers(1, 60))
def test_a_cut_text_fits(text: str, limit: int) -> None:
    assert length(cut(text, limit)) <= limit
    assert text.startswith(cut(text, limit))


def test_no_sign_is_cut_off_its_letter() -> None:
    # The vowel sign belongs to the letter before it.
    assert cut("កា" * 3, 3) == "កា"


def test_a_sign_beyond_16_bits_counts_twice() -> None:
    assert cut("💊💊💊", 5) == "💊💊"


@given(st.lists(st.tuples(anything, st.text(min_size=1, max_size=50)), max_size=20))
def test_names_fit_and_no_two_are_the_same(wanted: list[tuple[str, str]]) -> None:
    book = NameBook()
    made = [
        book.enter(name, tag, limit, str(place))
        for place, (name, tag) in enumerate(wanted)
        for limit in (50,)
    ]
    assert all(length(name) <= 50 for name in made)
    assert len({name.casefold() for name in made}) == len(made)


@pytest.mark.parametrize("name", ["x" * 300, KHMER * 10, "Amoxicillin " * 30])
def test_names_of_300_letters_differ_by_their_tags(name: str) -> None:
    book = NameBook()
    first, second = (book.enter(name, tag, NAME_LIMIT, tag) for tag in ("368c74bf", "14ef8a9c"))
    assert first.endswith(" (368c74bf)")
    assert second.endswith(" (14ef8a9c)")
    assert max(length(first), length(second)) <= NAME_LIMIT


def test_a_name_that_fits_stays() -> None:
    assert NameBook().enter("Amoxicillin 250mg tabs", "368c74bf", 50, "a") == "Amoxicillin 250mg tabs"


def test_capitals_make_no_other_name() -> None:
    book = NameBook({"PARACETAMOL": "theirs"})
    assert book.enter("Paracetamol", "12a0bf21", 50, "ours") == "Paracetamol (12a0bf21)"


def test_what_one_has_itself_is_free_for_it() -> None:
    assert NameBook({"Paracetamol": "ours"}).enter("Paracetamol", "12a0bf21", 50, "ours") == "Paracetamol"


def test_a_long_code_keeps_apart_what_ends_differently() -> None:
    codes = [fit_code(f"MSUPPLY_AVAIL_{'x' * 60}{end}") for end in "ab"]
    assert len(set(codes)) == 2
    assert all(length(code) <= CODE_LIMIT for code in codes)
    assert fit_code("MSUPPLY_AVAIL_368c74bf") == "MSUPPLY_AVAIL_368c74bf"
