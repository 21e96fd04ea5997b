"""The ``fields`` and ``filter`` parameters of DHIS2's lists, and what they apply to."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type View = Mapping[str, Callable[[], Any]]
"""The fields of one object, each worked out only when asked for."""


class Embedded(dict[str, Callable[[], Any]]):
    """A view of an object that has no page of its own: shown whole where none of its fields are named."""


type FieldTree = dict[str, FieldTree]
"""The fields to show; each with those of the object behind it, none for its id alone."""


def parse_fields(text: str) -> FieldTree:
    """Read ``id,categoryCombo[id,categoryOptionCombos[id]]``."""
    root: FieldTree = {}
    open_trees = [root]
    name = ""
    for character in f"{text},":
        if character in ",[]":
            if name:
                child: FieldTree = {}
                open_trees[-1][name.strip()] = child
            if character == "[":
                open_trees.append(child)
            elif character == "]" and len(open_trees) > 1:
                open_trees.pop()
            name = ""
        else:
            name += character
    return root


def render(view: View, tree: FieldTree) -> dict[str, Any]:
    """Return the object with the wanted fields; unknown ones and those without a value are left out."""
    wanted: FieldTree = {}
    for name, subtree in tree.items():
        wanted |= {each: {} for each in _PRESETS[name](view)} if name in _PRESETS else {name: subtree}
    found: dict[str, Any] = {}
    for asked, subtree in wanted.items():
        name, _, transformation = asked.partition("~")
        value = view[name]() if name in view else None
        if value is not None:
            found[name] = len(value) if transformation == "size" else _render_value(value, subtree)
    return found


NOT_OWNED = frozenset(
    (
        "access",
        "categoryOptionCombos",
        "children",
        "displayName",
        "displayShortName",
        "level",
        "organisationUnitLevels",
        "path",
        "sections",
    )
)
"""Fields that the server works out, or that belong to another object: not among those of ``:owner``."""

_PRESETS: dict[str, Callable[[View], Iterable[str]]] = {
    "*": lambda view: view,
    ":all": lambda view: view,
    ":owner": lambda view: (name for name in view if name not in NOT_OWNED),
}


def _render_value(value: Any, tree: FieldTree) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return render(value, tree or {"*" if isinstance(value, Embedded) else "id": {}})
    if isinstance(value, list):
        return [_render_value(element, tree) for element in value]
    return value


class BadFilterError(Exception):
    """A filter that the server does not understand; the text is what it says."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One ``filter=property:operator:value``; the property may be a path, as ``categoryOptions.id``."""

    path: tuple[str, ...]
    matches: Callable[[str], bool]
    identifiers: frozenset[str] | None = None
    """The UIDs that alone can pass, where it asks for UIDs."""

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Read a filter.

        Raises
        ------
        BadFilterError
            It has no operator, or one that there is not.
        """
        path, operator, value = [*text.split(":", 2), "", ""][:3]
        if not operator:
            raise BadFilterError(f"Invalid filter => {text}")
        asks_for_uids = path == "id" and operator in ("eq", "in")
        identifiers = frozenset(value.strip("[]").split(",")) if asks_for_uids else None
        return cls(tuple(path.split(".")), _condition(operator, value), identifiers)

    def accepts(self, view: View) -> bool:
        """Whether the object passes."""
        return any(self.matches(value) for value in _values_at([view], self.path))


def _condition(operator: str, value: str) -> Callable[[str], bool]:
    match operator:
        case "eq":
            return lambda found: found == value
        case "in":
            wanted = frozenset(value.strip("[]").split(","))
            return lambda found: found in wanted
        case "like" | "ilike":
            pattern = _like(value, re.IGNORECASE if operator == "ilike" else re.NOFLAG)
            return lambda found: pattern.search(found) is not None
    raise BadFilterError(f"`{operator}` is not a valid operator.")


def _like(text: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """Return the text as the database's LIKE takes it: ``_`` is any character, ``%`` any text."""
    wildcards = {"_": ".", "%": ".*"}
    return re.compile("".join(wildcards.get(character) or re.escape(character) for character in text), flags)


def _values_at(things: Sequence[Any], path: Sequence[str]) -> list[str]:
    """Follow the path through objects and lists of objects to the texts at its end."""
    for name in path:
        following: list[Any] = []
        for thing in things:
            value = thing[name]() if isinstance(thing, Mapping) and name in thing else None
            following.extend(value if isinstance(value, list) else [value])
        things = following
    return [
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in things
        if isinstance(value, str | int | float)
    ]
