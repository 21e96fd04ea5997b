"""How many values a call may hold: fewer at a slow server, all that the setting allows at a fast one."""

CALL_SECONDS = 20.0
"""How long a call should take at most: well below the 60 seconds after which proxies give up by default."""

_ENOUGH_TO_TELL = 50
"""With fewer values a call's own costs (0.1 to 0.4 s) hide what a value costs."""

_SMALLEST = 10


class AdaptiveBatchSize:
    """What was learnt from the calls so far: how many values a call may hold, ``None`` for as many as the setting allows."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        # A proxy's limit stands: to try again what it refused would only cost calls.
        self._ceiling: int | None = None

    def values(self, setting: int) -> int:
        """Return how many values a call may hold, where "No. of items per payload" allows ``setting``."""
        return setting if self.limit is None else min(setting, self.limit)

    def took(self, values: int, seconds: float) -> None:
        """Learn from an answer: so many values took so long."""
        if values < _ENOUGH_TO_TELL and (self.limit is None or values < self.limit):
            return
        affordable = max(int(values * CALL_SECONDS / max(seconds, 0.001)), _SMALLEST)
        if seconds > CALL_SECONDS:
            self._restrict(affordable)
        elif self.limit is not None:
            # Grown step by step: what was too much for the server a moment ago may be so again.
            grown = min(affordable, 2 * self.limit)
            self.limit = grown if self._ceiling is None else min(grown, self._ceiling)

    def too_slow(self, values: int) -> None:
        """Learn that no answer came in time."""
        if values >= 2 * _SMALLEST:
            self._restrict(values // 2)

    def too_large(self, values: int) -> None:
        """Learn that a call was refused for its size."""
        self._restrict(values // 2)
        self._ceiling = self.limit

    def forget_limit(self, setting: int) -> None:
        """Forget a limit that the setting is below anyway."""
        if self.limit is not None and self.limit >= setting:
            self.limit = None

    def _restrict(self, values: int) -> None:
        self.limit = max(values if self.limit is None else min(values, self.limit), 1)
