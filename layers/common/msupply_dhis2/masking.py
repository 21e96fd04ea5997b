"""Taking secrets out of what others say: a server, a proxy or a driver may repeat what it was given."""

import base64
import html
import json
import re
from collections.abc import Iterable
from functools import cache

_INSTEAD = "***"


class Mask:
    """Knows secrets in the forms in which they may be repeated.

    As they are, percent-encoded (also twice, and whichever characters are), as in JSON or HTML, and in base64.

    Parameters
    ----------
    secrets
        Empty ones are left aside.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        given = {secret for secret in secrets if secret}
        forms = given | {base64.b64encode(secret.encode()).decode() for secret in given}
        # The longest first: one may be part of another.
        patterns = ["".join(map(_pattern, form)) for form in sorted(forms, key=len, reverse=True)]
        self._secret = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """Give a text without the secrets."""
        return self._secret.sub(_INSTEAD, text) if self._secret else text


@cache
def _pattern(character: str) -> str:
    """Give what stands for a character of a secret."""
    percent = "".join(f"%(?:25)*(?i:{byte:02x})" for byte in character.encode())
    in_json = json.dumps(character)[1:-1].removeprefix("\\")
    forms = {
        re.escape(character),
        percent,
        r"\\+" + re.escape(in_json),
        re.escape(html.escape(character)),
    }
    if character == " ":
        forms.add(r"\+")
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})"
