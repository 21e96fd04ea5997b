"""What DHIS2 says of an import: how many objects, and each refusal by object, code and cure."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from cli.metadata.existing import AsksDhis2
from cli.metadata.wanted import TITLES
from msupply_dhis2.errors import Dhis2Error, Dhis2PermanentError, MsupplyDhis2Error
from msupply_dhis2.text import count, listed

_CURES = {
    "E3000": "Your user may not make this kind of object. Ask whoever runs DHIS2 for the authority to add it, or for a login that has it",
    "E3001": "Your user may not change this object. Ask its owner to share it with you for editing, or log in as somebody who may",
    "E4000": "Something that this DHIS2 requires is missing. Report it, with this sentence",
    "E4001": "Shorten the name or the identifier of the item in mSupply",
    "E4002": "An identifier is malformed. If settings.yaml has one (a UID), correct it there, and plan again",
    "E4014": "An identifier is malformed. If settings.yaml has one (a UID), correct it there, and plan again",
    "E5000": "It has been made meanwhile. Run the same command again",
    "E5001": "It has been deleted meanwhile. Run the same command again",
    "E5002": "What it refers to is not in DHIS2, or you may not see it. Ask for read access, and run the same command again",
    "E5003": "Rename or recode the other object in DHIS2, or use that one: give it the code that is wanted here, and plan again",
    "E1130": "The category combo has only some of its option combos. Update them in DHIS2 (Maintenance), and run the same command again",
    "E1132": "DHIS2 has this option combo already. Run the same command again: it takes the one that is there",
    "E4030": "It holds values or is used by another object, so DHIS2 does not delete it",
}
"""What to do about each of DHIS2's codes."""

_NAMED = 5
_KLASS = re.compile(r"[A-Z]\w*$")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many objects DHIS2 made and changed; what it calls updated may be as it was."""

    created: int = 0
    updated: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that DHIS2 does not take."""

    kind: str
    name: str
    code: str
    said: str

    def __str__(self) -> str:
        """Name object and code, with DHIS2's words and the cure."""
        cure = _CURES.get(
            self.code, "Look it up by this code in DHIS2's documentation, or ask whoever runs DHIS2"
        )
        return f"{self.kind} {self.name}: {self.code or 'refused'}: {self.said.rstrip('.')}. {cure}."


def _sentence(alike: Sequence[Refusal]) -> str:
    """Return one sentence about objects of a kind that DHIS2 refuses for the same reason, with its words about the first."""
    first = alike[0]
    cure = _CURES.get(first.code, "Ask whoever runs DHIS2, and tell this code")
    names = listed([each.name for each in alike], _NAMED)
    return f"{first.kind} {names}: {first.code or 'refused'}: {first.said.rstrip('.')}. {cure}."


class RefusedImportError(Dhis2PermanentError):
    """DHIS2 takes the import as a whole, or not at all: it took nothing of it."""

    def __init__(self, what: str, refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        alike: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
        for each in refusals:
            alike[each.kind, each.code].append(each)
        sentences = "".join(f"\n  - {_sentence(group)}" for group in alike.values())
        super().__init__(
            f"DHIS2 refuses {what}: {count(len(refusals), 'fault')}. It has taken nothing of it.{sentences}"
        )


class ImportBrokeOffError(MsupplyDhis2Error):
    """DHIS2 could not be asked, or gave no answer. What it has taken by then stays."""

    def __init__(self, error: Dhis2Error) -> None:
        super().__init__(in_words_of_import(str(error)))


_WORDS = (
    (
        r"It is tried again \w+( itself)?; what fails .* when the calls pass",
        "Then run the same command again",
    ),
    (r"It is tried again \w+( itself)?; if it goes on", "Run the same command again; if it goes on"),
    (
        r"A push tries again \w+( itself)?, after the time that the proxy asks for",
        "Run the same command again later",
    ),
    (
        r"the values may be stored anyway",
        "the objects may be imported anyway. The same command goes on where this one broke off",
    ),
    (
        r"lower No\. of items per payload or raise the proxy's time-out",
        "ask whoever runs the proxy for a longer time-out",
    ),
    (r"(lower|Halve) No\. of items per payload, or (?P<what>ask|find)", r"\g<what>"),
)
"""What the catalogue's sentences say of a push, and what is true of an import."""


def in_words_of_import(sentence: str) -> str:
    """Return a sentence about a call as it is true of an import: nothing tries it again by itself."""
    for words, instead in _WORDS:
        sentence = re.sub(words, instead, sentence)
    return sentence


@contextmanager
def told_as_import() -> Iterator[None]:
    """Tell what fails in the words of an import; what DHIS2 refuses has its own."""
    try:
        yield
    except RefusedImportError:
        raise
    except Dhis2Error as error:
        raise ImportBrokeOffError(error) from error


def read_report(client: AsksDhis2, response: requests.Response, what: str) -> Imported:
    """Read DHIS2's answer to an import.

    Raises
    ------
    RefusedImportError
        It refuses objects.
    Dhis2Error
        It refuses the request, or fails.
    """
    body = _fields(response)
    report = body.get("response")
    report = report if isinstance(report, dict) else {}
    refusals = tuple(_refusals(report))
    if refusals:
        raise RefusedImportError(what, refusals)
    stats = report.get("stats")
    if response.ok and report.get("status") == "OK" and isinstance(stats, dict):
        return Imported(*(int(stats.get(name, 0)) for name in ("created", "updated", "ignored")))
    if response.status_code == requests.codes.conflict and (said := body.get("message")):
        raise RefusedImportError(what, (Refusal("Import", "as a whole", "", str(said)),))
    raise client.refusal(response)


def read_object_report(client: AsksDhis2, response: requests.Response, what: str) -> None:
    """Read DHIS2's answer about one object, and raise as for an import."""
    report = _fields(response).get("response")
    refusals = tuple(_of_object({}, report)) if isinstance(report, dict) else ()
    if refusals:
        raise RefusedImportError(what, refusals)
    if response.status_code == requests.codes.conflict and (said := _fields(response).get("message")):
        raise RefusedImportError(what, (Refusal("Object", what, "", str(said)),))
    if not response.ok:
        raise client.refusal(response)


def _fields(response: requests.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _refusals(report: Mapping[str, Any]) -> Iterator[Refusal]:
    for of_type in _objects(report, "typeReports"):
        for of_object in _objects(of_type, "objectReports"):
            yield from _of_object(of_type, of_object)


def _of_object(of_type: Mapping[str, Any], of_object: Mapping[str, Any]) -> Iterator[Refusal]:
    found = _KLASS.search(str(of_object.get("klass") or of_type.get("klass") or ""))
    word = found[0] if found else "Object"
    plural = f"{word[0].lower()}{word[1:]}s"
    kind = TITLES.get(plural, TITLES.get(plural.replace("ys", "ies"), word))
    uid = str(of_object.get("uid") or "")
    name = str(of_object.get("displayName") or uid)
    named = f"{name} ({uid})" if uid and uid != name else name
    for error in _objects(of_object, "errorReports"):
        code, said = (str(error.get(field) or "") for field in ("errorCode", "message"))
        yield Refusal(f"{kind[0].upper()}{kind[1:]}", named, code, said)


def _objects(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [each for each in body.get(name) or () if isinstance(each, dict)]
