"""Reading a YAML or JSON document without altering what its author wrote.

YAML turns the text ``0123`` into the number 83, ``1_000`` into 1000 and ``NO`` into "false". An identifier
must not change on its way into DHIS2: here every scalar is the text that was written, but for the words of
YAML 1.1 for true and false (a text field refuses those, with the cure) and for null.
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import yaml

from msupply_dhis2.errors import SettingsError

type Value = str | bool | list[Value] | dict[str, Value] | Repeated | None

_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}{name}" for name in ("str", "int", "float", "timestamp")}
_QUOTED = re.compile(r"'[^'<][^']+'")
"""Words of the document in a sentence of YAML's; a single character or a ``<kind of token>`` is none."""
_TRUE = {"yes", "true", "on"}

_LONGEST = 50_000
"""Characters. Systems Manager keeps 8 KB; what is read from a file may have comments besides."""

_DEEPEST = 20
"""Fields within fields. The settings need three."""

_SAMPLE = "Begin with a copy of the sample settings.yaml."

_FROM_A_WORD_PROCESSOR = re.compile(
    "^[ \t]*(?:- *)?(?:\\w[^:#\"'\\n]*:[ \t]*)?([\u2018\u2019\u201c\u201d\u201e\u00ab\u00a0\u2007\u202f\u3000])",
    re.MULTILINE,
)
"""A curly quote, or a blank that is not YAML's, where a name or a value begins."""

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_document(text: str) -> dict[str, Value]:
    """Read the fields of a document: JSON where it begins with a brace and is JSON, YAML otherwise."""
    text = text.removeprefix("\ufeff")
    if len(text) > _LONGEST:
        raise _unreadable(
            f"The settings have {len(text):,} characters, and at most {_LONGEST:,} can be. {_SAMPLE}"
        )
    fields = _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)
    if not isinstance(fields, dict):
        raise _unreadable(f"The settings have no fields such as 'use_dhis2: true', a line each. {_SAMPLE}")
    return fields


def _unreadable(fault: str) -> SettingsError:
    return SettingsError([fault])


def _too_deep(line: int) -> SettingsError:
    return _unreadable(f"Line {line}: fields are nested too deeply. Look at the brackets or the indentation.")


@dataclass(frozen=True, slots=True)
class Repeated:
    """What stands in place of a field's value that was written more than once: which is meant cannot be known."""

    lines: tuple[int, ...]
    """None where they are unknown."""

    def __str__(self) -> str:
        """Say what is wrong."""
        lines = f" (lines {', '.join(map(str, self.lines))})" if self.lines else ""
        return f"is written more than once{lines}. Keep one of them."


def _fields(written: Iterable[tuple[str, Value, int | None]]) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for name, value, line in written:
        lines[name] += [line] if line else []
        fields[name] = Repeated(tuple(lines[name])) if name in fields else value
    return fields


def _read_json(text: str) -> Value:
    depth = 0
    # Only the text itself tells the line in which JSON is nested too deeply.
    for token in _JSON_TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > _DEEPEST:
            raise _too_deep(text.count("\n", 0, token.start()) + 1)
    try:
        return json.loads(  # type: ignore[no-any-return]
            text,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
            object_pairs_hook=lambda pairs: _fields((name, value, None) for name, value in pairs),
        )
    except json.JSONDecodeError as error:
        # Braces are YAML too, and YAML is more lenient: {use_dhis2: off}.
        try:
            return _read_yaml(text)
        except SettingsError:
            raise _unreadable(
                f"The settings document cannot be read as JSON: line {error.lineno}, column {error.colno} "
                f"({error.msg}). Look at the quotes, commas and braces there and just before."
            ) from error


class _Loader(yaml.SafeLoader):
    """YAML whose unquoted scalars are text, true, false or null."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML reads it from the class
        first: [(tag, regexp) for tag, regexp in resolvers if tag in {f"{_TAG}bool", f"{_TAG}null"}]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # An alias can make a document contain itself; nothing in the settings needs one.
        if self.check_event(yaml.AliasEvent):
            raise _unreadable(
                f"Line {self.line + 1}: a value that begins with '*' is an alias. Put it in quotes."
            )
        if self.depth > _DEEPEST:
            raise _too_deep(self.line + 1)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# A page of the console reads the same settings a dozen times.
@lru_cache(maxsize=4)
def _read_yaml(text: str) -> Value:
    if found := _FROM_A_WORD_PROCESSOR.search(text):
        character = found[1]
        plain = "a space" if character.isspace() else 'a straight quote (")'
        raise _unreadable(
            f"Line {text.count('\n', 0, found.start(1)) + 1} has a {unicodedata.name(character)} (U+{ord(character):04X}) "
            f"where YAML needs {plain}. Type it again in a plain text editor."
        )
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        said = _QUOTED.sub("'…'", error.problem or error.context or "")
        fault = (
            f"The settings document cannot be read as YAML: {where} ({said}). Look at the indentation (spaces, no tabs), the "
            "colons and the quotes there and on the line before; a quote that is not closed may be further up."
        )
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        fault = f"The settings document holds an unprintable character on line {line}. Type that line again."
    # A number that is no character, as in "\UFFFFFFFF".
    except (ValueError, OverflowError):
        fault = "The settings document has an escape (\\x, \\u or \\U) that is not a character. Type the character."
    else:
        return None if node is None else _from_node(node)
    # Outside the except clauses, so that the error has no context: YAML's quotes the document, and a password may
    # have been written there by mistake.
    raise _unreadable(fault)


def _from_node(node: yaml.Node) -> Value:
    if isinstance(node, yaml.MappingNode):
        return _fields((_name(key), _from_node(value), _line(key)) for key, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_from_node(member) for member in node.value]
    text = str(node.value)
    if node.tag in _TEXTS:
        return text
    if node.tag == f"{_TAG}bool":
        return text.lower() in _TRUE
    if node.tag == f"{_TAG}null":
        return None
    raise _unreadable(f"Line {_line(node)}: a value that begins with '!' is a tag of YAML. Put it in quotes.")


def _name(key: yaml.Node) -> str:
    if isinstance(key, yaml.ScalarNode):
        return str(key.value)
    raise _unreadable(f"Line {_line(key)}: a field's name must be a word, as in 'use_dhis2: true'.")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
