"""Secrets that can be told wherever they turn up: in clear, encoded, compressed, or cut to a part."""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import unescape
from urllib.parse import unquote_plus

MARK = "m4rk3d"
"""Each secret of the tests holds it, several times, so that a part of one is found too."""

_DEEPEST = 4
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
"""How gzip and zlib begin."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEXADECIMAL = re.compile(rb"(?:[0-9a-fA-F]{2}){6,}")
_TEXT = re.compile(rb"[\x20-\x7e\s]+")
_ESCAPED = re.compile(rb"\\u([0-9a-fA-F]{4})")


def where_marked(written: object) -> list[str]:
    """Return what stands around each mark in something that was written; empty where there is none."""
    content = written if isinstance(written, bytes) else _as_text(written).encode("utf-8", "backslashreplace")
    found: list[str] = []
    for form in _forms(content, 0, set()):
        lower = form.lower()
        at = lower.find(MARK.encode())
        if at >= 0:
            found.append(form[max(0, at - 80) : at + 80].decode("utf-8", "replace"))
    return found


def _as_text(written: object) -> str:
    if isinstance(written, str):
        return written
    # What is binary in it (an attribute of a table) is looked through as well.
    return json.dumps(written, ensure_ascii=False, default=_binary_or_repr)


def _binary_or_repr(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    inner = getattr(value, "value", None)
    return base64.b64encode(inner).decode() if isinstance(inner, bytes) else repr(value)


def _forms(content: bytes, depth: int, seen: set[bytes]) -> Iterator[bytes]:
    """Yield a content, and all that can be read out of it; each once."""
    if content in seen:
        return
    seen.add(content)
    yield content
    if depth == _DEEPEST:
        return
    for read in (_decompressed, _decoded, _unescaped):
        for inner in read(content):
            yield from _forms(inner, depth + 1, seen)


def _decompressed(content: bytes) -> Iterator[bytes]:
    for beginning in _COMPRESSED.finditer(content):
        try:
            # 47: gzip or zlib, whichever it is; what follows behind it is no matter.
            yield zlib.decompressobj(47).decompress(content[beginning.start() :])
        except zlib.error:
            continue


def _decoded(content: bytes) -> Iterator[bytes]:
    for run in _BASE64.findall(content):
        yield from _from_base64(run)
    for run in _HEXADECIMAL.findall(content):
        inner = bytes.fromhex(run.decode())
        if _means_something(inner):
            yield inner


# The same words come again and again.
@lru_cache(maxsize=262_144)
def _from_base64(run: bytes) -> tuple[bytes, ...]:
    alphabet = b"-_" if b"-" in run or b"_" in run else None
    meant = []
    # What stands before it may be taken for a part of it.
    for start in range(4):
        text = run[start:]
        try:
            inner = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=alphabet)
        except binascii.Error:
            # A last character too many.
            inner = base64.b64decode(text[: len(text) // 4 * 4], altchars=alphabet)
        if _means_something(inner):
            meant.append(inner)
    return tuple(meant)


def _means_something(content: bytes) -> bool:
    """Return what is worth reading on in: a text, or something compressed. What is decoded is mostly noise."""
    return (
        MARK.encode() in content.lower()
        or _COMPRESSED.match(content) is not None
        or _TEXT.fullmatch(content) is not None
    )


def _unescaped(content: bytes) -> Iterator[bytes]:
    if b"%" in content or b"+" in content:
        yield unquote_plus(content.decode("latin-1"), encoding="latin-1").encode("latin-1")
    if b"&" in content:
        yield unescape(content.decode("utf-8", "replace")).encode()
    if b"\\" in content:
        yield _ESCAPED.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), content).replace(
            b"\\", b""
        )


def without(content: bytes, verbatim: str) -> bytes:
    """Take out what is kept as it came: as it is, and as it stands in JSON, and in JSON within JSON."""
    forms = {verbatim}
    for _ in range(2):
        forms |= {
            json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (True, False)
        }
    for form in sorted(forms, key=len, reverse=True):
        content = content.replace(form.encode(), b"")
    return content


def chain_of(error: BaseException) -> list[Mapping[str, object]]:
    """Describe an error and all that led to it, whatever a traceback would show of it."""
    told: list[Mapping[str, object]] = []
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        told.append({"said": str(each), "shown": repr(each), "notes": getattr(each, "__notes__", [])})
        waiting += [each.__cause__, each.__context__]
    return told
