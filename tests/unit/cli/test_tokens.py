import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.tokens import require_token
from msupply_dhis2.errors import CredentialsError


def checked(code: str, *, zeros: int = 0) -> str:
    """Return a personal access token with its checksum, worked out anew from its random part."""
    total = zlib.crc32(code.encode() + bytes(zeros))
    if len(code) == 32:
        return f"d2pat_{code}{total:010}"
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    return f"d2p_{code}{''.join(digits[total // 62**place % 62] for place in range(5, -1, -1))}"


FIRST, SECOND = checked("hunter2" + "x" * 25), checked("hunter2" + "x" * 37, zeros=4)


@pytest.mark.parametrize("token", [FIRST, SECOND, checked("y" * 32, zeros=3), checked("z" * 44)])
def test_right_token(token: str) -> None:
    require_token(token)


@given(
    st.integers(0, len(FIRST) - 1) | st.integers(0, len(SECOND) - 1),
    st.sampled_from(string.ascii_letters + string.digits),
)
def test_mistyped_token(place: int, typed: str) -> None:
    for token in (FIRST, SECOND):
        wrong = token[:place] + typed + token[place + 1 :]
        if wrong != token:
            with pytest.raises(CredentialsError):
                require_token(wrong)


@pytest.mark.parametrize(
    ("token", "part"),
    [
        ("hunter2", "begins neither with d2pat_ nor with d2p_"),
        (FIRST[:-3], "has 39 characters after d2pat_ where a token has 42 letters and digits"),
        (f"{SECOND}x", "has 51 characters after d2p_ where a token has 50 letters and digits"),
        (f"d2pat_{'-' * 42}", "has 42 characters after d2pat_ where a token has 42 letters and digits"),
        (FIRST[:-1] + ("0" if FIRST[-1] != "0" else "1"), "does not match its own checksum"),
    ],
)
def test_fault(token: str, part: str) -> None:
    with pytest.raises(CredentialsError) as refused:
        require_token(token)
    assert part in refused.value.fault
    assert token not in str(refused.value)
