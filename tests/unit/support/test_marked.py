"""The search for secrets in what was written: what it must find, or the tests that rely on it could not fail."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from boto3.dynamodb.types import Binary

from tests.support.marked import MARK, chain_of, where_marked, without

SECRET = f"é {MARK}/{MARK}&{MARK}"


def in_a_table(secret: str) -> object:
    return {"id": "x", "content": Binary(zlib.compress(json.dumps([secret]).encode()))}


@pytest.mark.parametrize(
    "hidden",
    [
        str,
        repr,
        str.upper,
        lambda secret: secret[: len(secret) // 2],
        lambda secret: quote(secret, safe=""),
        quote_plus,
        lambda secret: quote("".join(f"%{byte:02x}" for byte in secret.encode()), safe=""),
        lambda secret: json.dumps(json.dumps(secret)),
        lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
        lambda secret: "Basic " + base64.b64encode(f"pusher:{secret}".encode()).decode(),
        lambda secret: "Basic " + base64.b64encode(f"clerk:{secret}".encode()).decode(),
        lambda secret: "x" + base64.urlsafe_b64encode(f"ÿ:{secret}".encode()).decode().rstrip("="),
        lambda secret: quote(base64.b64encode(secret.encode()).decode()),
        lambda secret: b"before" + gzip.compress(secret.encode()) + b"behind",
        lambda secret: base64.b64encode(gzip.compress(secret.encode())).decode(),
        lambda secret: {"deep": [gzip.compress(quote(secret).encode())]},
        lambda secret: secret.encode().hex(),
        in_a_table,
    ],
)
@pytest.mark.parametrize("around", ["", "words before "])
def test_every_form_found(hidden: Callable[[str], object], around: str) -> None:
    planted = hidden(SECRET)
    assert where_marked([around, planted] if not isinstance(planted, bytes) else around.encode() + planted)


def test_no_secret() -> None:
    assert (
        where_marked({"message": "Authentication failed (status 401)", "binary": gzip.compress(b"x")}) == []
    )
    assert where_marked(base64.b64encode(b"pusher:something else").decode()) == []


def test_whitelisted_form() -> None:
    body = f'{{"password": "{SECRET}"}}'
    letter = json.dumps({"body": body, "reason": "no batch"}).encode()
    assert where_marked(letter)
    assert where_marked(without(letter, body)) == []
    assert where_marked(without(json.dumps({"body": body, "reason": SECRET}).encode(), body))


def test_chained_errors() -> None:
    def fail() -> None:
        try:
            dict[str, str]()[SECRET]
        except KeyError:
            raise ValueError("harmless") from None

    with pytest.raises(ValueError, match="harmless") as raised:
        fail()
    assert where_marked(chain_of(raised.value))
