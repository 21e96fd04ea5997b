import pytest

from cli.metadata.refusals import in_words_of_import
from msupply_dhis2.dhis2.error_catalogue import ConnectionFault


@pytest.mark.parametrize("fault", ConnectionFault)
def test_nothing_is_said_of_a_push(fault: ConnectionFault) -> None:
    problem, cure = fault.words(url="URL", username="USER", seconds="5")
    said = in_words_of_import(f"{problem}. {cure}.")
    assert "tried again" not in said.replace("not tried again", "")
    assert "tries again" not in said
    assert "redrive" not in said
    assert "No. of items per payload" not in said
    assert "the values may" not in said
