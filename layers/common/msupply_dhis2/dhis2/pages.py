"""Reading an answer: JSON, and what is not in DHIS2's words.

DHIS2 answers with JSON. The server that it runs in, Tomcat or Jetty, answers some calls with an error page of its own;
every other page comes from what stands before DHIS2: a proxy, a firewall, a page of a hosting provider.
"""

import html
import json
import re
from collections.abc import Mapping

import requests

from msupply_dhis2.redaction import Mask, writable

_LOOKED_AT = 10_000
"""Characters of a page in which its title and first words are looked for."""

_WORDS_LIMIT = 160
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_LONGEST_ENCODED = 4
"""Bytes of a character."""

_OF_CONTAINER = re.compile(r"HTTP (?:Status|ERROR) \d{3}\b|Bad Message \d{3}\b")
"""Tomcat, Jetty, and Jetty where it cannot even read the call."""

_TITLE = re.compile(r"<title\b[^>]*>([^<]*)", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def parse_json(content: bytes) -> object:
    r"""Parse JSON; half a character (``\ud800``), which JSON can say and nothing can write, becomes a sign for it."""
    text = content.decode("utf-8-sig", "surrogatepass")
    parsed: object = json.loads(text)
    if _HALF_A_CHARACTER.search(text):
        parsed = json.loads(writable(json.dumps(parsed, ensure_ascii=False)))
    return parsed


def fields(response: requests.Response) -> Mapping[str, object]:
    """Return the fields of a JSON object, or none where the answer is something else."""
    try:
        body = parse_json(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def is_page(response: requests.Response) -> bool:
    """Return whether an answer is a web page."""
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"


def is_of_dhis2(body: Mapping[str, object]) -> bool:
    """Return whether it is DHIS2's own refusal: ``httpStatus`` is in all of them but in those of old versions, which have ``status``."""
    return "httpStatus" in body or (isinstance(body.get("status"), str) and "servlet" not in body)


def is_of_container(response: requests.Response, body: Mapping[str, object]) -> bool:
    """Return whether Tomcat or Jetty refuses, in which DHIS2 runs, or the part that hands out OAuth2 tokens."""
    return (
        "servlet" in body or isinstance(body.get("error"), str) or bool(_OF_CONTAINER.search(_text(response)))
    )


def words_of(response: requests.Response, mask: Mask) -> str:
    """Return the title and the first words of an answer that is no JSON; nothing where it is empty."""
    # A secret may be written there as in a page, so that it is looked for before and after that is read.
    text = mask.text(_text(response), _LOOKED_AT)
    title = " ".join(html.unescape(found[1]).split()) if (found := _TITLE.search(text)) else ""
    seen = " ".join(html.unescape(_UNSEEN.sub(" ", text)).split()).removeprefix(title).strip()
    return on_one_line(": ".join(part for part in (title, seen) if part), mask, _WORDS_LIMIT)


def on_one_line(text: str, mask: Mask, limit: int) -> str:
    """Return the beginning of what a server says, without anything secret that it may repeat."""
    line = " ".join(mask.text(text, limit).split())
    shortened = "…" if len(text) > limit else ""
    return "".join(character for character in line if character.isprintable()).strip() + shortened


def _text(response: requests.Response) -> str:
    # Enough for a secret that begins within what is looked at.
    return response.content[: _LONGEST_ENCODED * _LOOKED_AT].decode("utf-8", "replace")
