"""Metrics, as CloudWatch makes them of the lines that functions write and of what queues hold."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from local.dashboard.definition import DefinitionError, Metric
from local.dashboard.insights import Event


@dataclass(frozen=True, slots=True)
class Datum:
    """One value of a metric."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    instant: datetime
    value: float


def written(events: Iterable[Event]) -> Iterator[Datum]:
    """Yield the metrics that lines hold in the embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    for event in events:
        try:
            document = json.loads(event.message)
        except ValueError:
            continue
        if not isinstance(document, dict) or "_aws" not in document:
            continue
        instant = datetime.fromtimestamp(document["_aws"]["Timestamp"] / 1000, UTC)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = tuple((name, str(document[name])) for name in names)
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        yield Datum(directive["Namespace"], metric["Name"], dimensions, instant, float(value))


def series_of(metric: Metric, data: Iterable[Datum]) -> list[tuple[datetime, float]]:
    """Return what a graph shows of a metric: a number for each period in which something was written."""
    periods: dict[int, list[float]] = {}
    for datum in data:
        if (datum.namespace, datum.name, datum.dimensions) == (
            metric.namespace,
            metric.name,
            metric.dimensions,
        ):
            periods.setdefault(int(datum.instant.timestamp()) // metric.period, []).append(datum.value)
    return [
        (datetime.fromtimestamp(period * metric.period, UTC), statistic(metric.stat, values))
        for period, values in sorted(periods.items())
    ]


def statistic(name: str, values: Sequence[float]) -> float:
    """Work a statistic of CloudWatch out.

    Raises
    ------
    DefinitionError
        There is none of that name, or it is not known here.
    """
    if name in _STATISTICS:
        return _STATISTICS[name](values)
    if name.startswith("p") and name[1:].isdecimal():
        return sorted(values)[max(0, math.ceil(len(values) * int(name[1:]) / 100) - 1)]
    raise DefinitionError(f"{name} is no statistic that is known here.")


_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
}
