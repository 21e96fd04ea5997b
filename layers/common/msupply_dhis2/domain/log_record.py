"""A line for the log, as the jobs give it to whoever writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line for the log: a sentence for people, fields for queries."""

    level: int
    message: str
    fields: Mapping[str, object] = field(default_factory=dict)
