"""The catalogue of DHIS2's error codes and of the faults of a connection."""

import itertools
import re
import subprocess
import sys

import pytest

from cli.error_document import catalogue_as_markdown
from msupply_dhis2.dhis2.error_catalogue import NO_REASON, ConnectionFault, explain, read_catalogue
from msupply_dhis2.errors import Dhis2AuthenticationError
from tests.support.paths import PROJECT

LAYER = PROJECT / "layers/common/msupply_dhis2"
DOCUMENT = PROJECT / "docs" / "errors.md"
CATALOGUE = read_catalogue()
EXPLANATIONS = {**CATALOGUE.ours, **CATALOGUE.dhis2}
WORDS = {fault: fault.words(url="URL", username="USER", seconds="5") for fault in ConnectionFault}
WHO = {
    "whoever sets up mSupply",
    "a DHIS2 administrator",
    "whoever keeps the settings of this integration",
    "the developers of this integration",
}

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


OURS = [
    "no_reason",
    "unaccounted",
    "fraction",
    "zero_not_kept",
    "true_only",
    "stored_differently",
    "vanished",
    "still_there",
    "changed_since",
    "too_large_alone",
    "call_refused",
    "calendar",
]
MAY_PASS = {
    *(f"E{number}" for number in (*range(7640, 7645), *range(8030, 8034))),
    "E7632",
    "vanished",
    "still_there",
    "unaccounted",
}


@pytest.mark.parametrize("code", [*ROW_BY_ROW, *BY_GROUP, *OURS])
def test_import_codes_explained(code: str) -> None:
    explanation = explain(code, "text")
    assert explanation is EXPLANATIONS[code]
    assert explanation.who in WHO
    assert explanation.meaning.endswith(".")
    assert explanation.cure.endswith(".")


def test_passing_faults_say_so() -> None:
    assert {code for code, explanation in EXPLANATIONS.items() if explanation.may_pass} == MAY_PASS


def test_own_codes() -> None:
    assert set(CATALOGUE.ours) == set(OURS)
    assert not [code for code in OURS if code.startswith("E")]


def test_codes_stand_once() -> None:
    text = (LAYER / "dhis2/error_catalogue.yaml").read_text(encoding="utf-8")
    codes = [code for codes in re.findall(r"^  (E\d.*):$", text, re.MULTILINE) for code in codes.split()]
    assert sorted(codes) == sorted(CATALOGUE.dhis2)


def printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_words_are_read_late() -> None:
    program = (
        "from msupply_dhis2.dhis2 import client, error_catalogue as it; print(it.read_catalogue.cache_info())"
    )
    assert "misses=0" in printed(program)


def test_no_yaml_in_c() -> None:
    # The layer goes without that part of PyYAML (sandbox/layer.py).
    program = "import sys; sys.modules |= {'_yaml': None, 'yaml._yaml': None}\n"
    program += "from msupply_dhis2.dhis2.error_catalogue import explain; print(explain('E7612', '').cure)"
    assert printed(program).strip() == EXPLANATIONS["E7612"].cure


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("fraction", "Tick Round off"),
        ("fraction", "value type Number"),
        ("zero_not_kept", "'Store zero data values'"),
        ("true_only", "Yes/No"),
        ("E7641", '"open future periods" to 1'),
        ("E8030", '"expiry days"'),
        ("E7634", "option_combo_field to attribute"),
        ("E8023", "option_combo_field to category"),
        ("E7613", "not the ID of the category option"),
    ],
)
def test_cure_in_screen_words(code: str, cure: str) -> None:
    assert cure in EXPLANATIONS[code].cure


def test_unknown_code() -> None:
    explanation = explain("E9999", "something new")
    assert "E9999 is not in the catalogue" in explanation.meaning
    assert explanation.who == "a DHIS2 administrator"


def test_texts_without_codes() -> None:
    text = "Organisation unit not found or not accessible"
    assert explain(NO_REASON, text) is EXPLANATIONS["E7612"]


def test_unknown_text() -> None:
    assert explain(NO_REASON, "whatever") is EXPLANATIONS[NO_REASON]


def test_connection_faults() -> None:
    assert {fault.kind for fault in ConnectionFault} == CATALOGUE.connection.keys()
    assert len({problem for problem, _ in WORDS.values()}) == len(ConnectionFault)


def test_kinds_are_names() -> None:
    assert all(fault.kind == fault.name.lower().replace("_", " ") for fault in ConnectionFault)


def test_phrases_are_used() -> None:
    said = " ".join(cure for _, cure in WORDS.values())
    said += " ".join(each.meaning + each.cure for each in EXPLANATIONS.values())
    assert all(phrase in said for phrase in CATALOGUE.phrases.values())
    assert "{" not in said


def test_refused_login() -> None:
    refused = [problem for fault, (problem, _) in WORDS.items() if fault.error is Dhis2AuthenticationError]
    assert len(refused) == 17
    # The connection test shows what comes before the first full stop.
    assert {problem.partition(". ")[0][:21] for problem in refused} == {"Authentication failed"}
    assert not [problem for problem in refused if "URL" in problem.partition(". ")[0]]


def test_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == catalogue_as_markdown(), (
        "run: PYTHONPATH=layers/common uv run python -m cli.error_document > docs/errors.md"
    )


def test_table_cells() -> None:
    rows = [line for line in catalogue_as_markdown().splitlines() if line.startswith("|")]
    heads = [row for row, below in itertools.pairwise(rows) if below.startswith("|---")]
    assert [head.count("|") for head in heads] == [5, 6, 6]
    assert {row.count("|") for row in rows} == {5, 6}
    assert len(rows) == len(EXPLANATIONS) + len(ConnectionFault) + 6
