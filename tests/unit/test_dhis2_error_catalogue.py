"""The catalogue of DHIS2's error codes and of the faults of a connection."""

from pathlib import Path

import pytest

from msupply_dhis2.dhis2.error_catalogue import (
    CONNECTION_WORDS,
    EXPLANATIONS,
    HELD_BACK,
    NO_REASON,
    ConnectionFault,
    Who,
    catalogue_as_markdown,
    explain,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"

ROW_BY_ROW = [
    *(f"E{number}" for number in range(7600, 7605)),
    *(f"E{number}" for number in range(7610, 7622)),
    *(f"E{number}" for number in range(7630, 7646)),
]
BY_GROUP = [
    *("E8000", "E8002", "E8003", "E8004", "E8005", "E8008", "E8009", "E8010", "E8011", "E8012"),
    *(f"E{number}" for number in range(8020, 8026)),
    *(f"E{number}" for number in range(8030, 8034)),
    *(f"E{number}" for number in range(8100, 8112)),
    *(f"E{number}" for number in range(8120, 8129)),
]


@pytest.mark.parametrize("code", [*ROW_BY_ROW, *BY_GROUP, HELD_BACK, NO_REASON])
def test_every_code_of_the_data_value_import_is_explained_in_sentences(code: str) -> None:
    explanation = explain(code, "text")
    assert explanation is EXPLANATIONS[code]
    assert explanation.meaning.endswith(".")
    assert explanation.cure.endswith(".")


@pytest.mark.parametrize(
    "code", ["E7640", "E7641", "E7642", "E7643", "E7644", "E8030", "E8031", "E8032", "E8033"]
)
def test_codes_that_may_pass_by_themselves_say_so(code: str) -> None:
    assert EXPLANATIONS[code].who is Who.WAIT


def test_an_unknown_code_is_explained_by_saying_that_it_is_unknown() -> None:
    explanation = explain("E9999", "something new")
    assert "E9999 is not in the catalogue" in explanation.meaning
    assert explanation.who is Who.DHIS2


def test_the_words_of_servers_that_give_no_codes_are_understood() -> None:
    text = "Organisation unit not found or not accessible"
    assert explain(NO_REASON, text) is EXPLANATIONS["E7612"]


def test_words_that_are_not_understood_have_no_reason() -> None:
    assert explain(NO_REASON, "whatever") is EXPLANATIONS[NO_REASON]


def test_every_fault_of_a_connection_has_its_words() -> None:
    assert CONNECTION_WORDS.keys() == set(ConnectionFault)
    problems = [words.problem for words in CONNECTION_WORDS.values()]
    assert len(set(problems)) == len(problems)


def test_the_document_is_the_one_that_is_generated() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == catalogue_as_markdown(), (
        "run: PYTHONPATH=layers/common uv run python -m msupply_dhis2.dhis2.error_catalogue > docs/errors.md"
    )


def test_every_line_of_the_tables_has_its_cells() -> None:
    rows = [line for line in catalogue_as_markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
    assert len(rows) == len(EXPLANATIONS) + len(CONNECTION_WORDS) + 4
