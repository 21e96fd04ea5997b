"""SQL that is compiled once for all databases of a kind: each test opens its own, and compiling took two fifths of its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from msupply_dhis2.source import connection

MOST_STATEMENTS = 1_000


class _OfAKind(LRUCache[Any, Any]):
    """Compiled statements, of which each is that of every database of its kind, not of one engine's dialect."""

    def get(self, key: Any, default: Any = None) -> Any:  # noqa: ANN401 - SQLAlchemy's
        dialect, *statement = key
        return super().get((dialect.name, *statement), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:  # noqa: ANN401 - as above
        dialect, *statement = key
        super().__setitem__((dialect.name, *statement), compiled)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Have whatever is read of mSupply compiled once."""
    compiled = _OfAKind(MOST_STATEMENTS)

    def create_engine(url: str | sa.URL, **named: Any) -> sa.Engine:  # noqa: ANN401 - as above
        engine = sa.create_engine(url, **named)
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    with patch.object(connection, "create_engine", create_engine):
        yield
