"""Taking secrets out of what others say: a server, a proxy or a driver may repeat what it was given."""

import base64
import html
import json
import re
from collections.abc import Iterable
from functools import cache

_INSTEAD = "***"

_ESCAPES = 15
"""Backslashes before a character: JSON within JSON within JSON within JSON. Without an end to it the search would take
seconds for a text of some thousand backslashes."""

_LONGEST_OF_A_CHARACTER = 11 * (_ESCAPES + 1)
"""What a character of a secret may become at most: a backslash that is escaped, each percent-encoded several times."""


class Mask:
    """Knows secrets in the forms in which they may be repeated; empty ones are left aside.

    As they are, percent-encoded (also twice, and whichever characters are), as in JSON or HTML, and in base64.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        given = {secret for secret in secrets if secret}
        forms = given | {base64.b64encode(secret.encode()).decode() for secret in given}
        # The longest first: one may be part of another.
        patterns = [_pattern(form) for form in sorted(forms, key=len, reverse=True)]
        self._secret = re.compile("|".join(patterns)) if patterns else None
        self._longest = _LONGEST_OF_A_CHARACTER * max(map(len, forms), default=0)

    def text(self, text: str, limit: int | None = None) -> str:
        """Return a text without the secrets, and without what cannot be written.

        Far behind its first ``limit`` characters it is not looked at: a server may say whatever it likes, at any length.
        """
        end = len(text) if limit is None else limit
        if self._secret is None:
            return writable(text[:end])
        kept, at = [], 0
        # A secret that begins before the end is looked at as a whole, so that no half of it is left.
        for found in self._secret.finditer(text, 0, end + self._longest):
            if found.start() >= end:
                break
            kept += [text[at : found.start()], _INSTEAD]
            at = found.end()
        return writable("".join([*kept, text[at:end]]))


def writable(text: str) -> str:
    """Return a text as it can be written to any log, file or table: for half a character stands U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pattern(secret: str) -> str:
    runs = (match[0] for match in re.finditer(r"\\+|[^\\]", secret, re.DOTALL))
    return "".join(_of_backslashes(len(run)) if run[0] == "\\" else _of_character(run) for run in runs)


def _of_backslashes(number: int) -> str:
    """Return what stands for backslashes in a secret: as many, or more, for each may be escaped.

    All of them at once: each for itself could be any part of a long row of them, in more ways than can be tried.
    """
    return rf"(?:\\|{_percent('\\')}){{{number},{number * (_ESCAPES + 1)}}}"


@cache
def _of_character(character: str) -> str:
    """Return what stands for another character of a secret."""
    in_json = json.dumps(character)[1:-1].removeprefix("\\").split("\\")
    forms = {
        re.escape(character),
        _percent(character),
        "".join(rf"\\{{1,{_ESCAPES}}}" + re.escape(part) for part in in_json),
        re.escape(html.escape(character)),
    }
    if character == " ":
        forms.add(r"\+")
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})"


def _percent(character: str) -> str:
    return "".join(f"%(?:25){{0,4}}(?i:{byte:02x})" for byte in character.encode())
