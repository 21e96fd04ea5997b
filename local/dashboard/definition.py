"""The dashboard's definition, as the template has it and as it is deployed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMNS = 24
"""Of a dashboard's grid."""


class DefinitionError(ValueError):
    """A dashboard holds what is not known here."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A line of a graph."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    stat: str
    period: int
    label: str
    color: str


@dataclass(frozen=True, slots=True)
class Widget:
    """One rectangle of a dashboard: a text, the table of a query, or a graph of metrics.

    Attributes
    ----------
    x, y, width, height
        In cells of the grid.
    """

    x: int
    y: int
    width: int
    height: int
    title: str = ""
    markdown: str | None = None
    query: str | None = None
    metrics: tuple[Metric, ...] = ()


def widgets_of(body: str) -> tuple[Widget, ...]:
    """Read a dashboard's body.

    Raises
    ------
    DefinitionError
        It holds what is not known here.
    """
    return tuple(_widget(widget) for widget in json.loads(body)["widgets"])


def fingerprint(body: str) -> str:
    """Return a digest of a dashboard's body, whatever its white space."""
    canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _widget(widget: Mapping[str, Any]) -> Widget:
    place = (widget["x"], widget["y"], widget["width"], widget["height"])
    shown = widget["properties"]
    match widget["type"]:
        case "text":
            return Widget(*place, markdown=shown["markdown"])
        case "log" if shown["view"] == "table":
            return Widget(*place, title=shown["title"], query=shown["query"])
        case "metric" if shown["view"] == "timeSeries":
            return Widget(
                *place,
                title=shown["title"],
                metrics=tuple(_metric(metric, shown) for metric in shown["metrics"]),
            )
        case kind:
            raise DefinitionError(f"A widget of the type {kind} is not known here: {widget}")


def _metric(metric: list[Any], shown: Mapping[str, Any]) -> Metric:
    match metric:
        case [str(namespace), str(name), str(dimension), str(value), dict(options)]:
            return Metric(
                namespace,
                name,
                ((dimension, value),),
                stat=options.get("stat", shown["stat"]),
                period=shown["period"],
                label=options["label"],
                color=options["color"],
            )
        case _:
            raise DefinitionError(f"A metric that is written like this is not known here: {metric}")
