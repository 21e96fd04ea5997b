"""A batch on the queue, by what is counted of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A batch on the queue: the same batch put there once more is another message.

    Attributes
    ----------
    batch_id
        Begins with the run's id.
    sending
        Which time that the batch was put on the queue.
    values
        How many it holds.
    """

    batch_id: str
    attempt_id: str
    values: int

    @property
    def run_id(self) -> str:
        """The run whose values it holds."""
        return self.batch_id.rpartition("-")[0]

    @property
    def name(self) -> str:
        """The message's own name within its run."""
        return f"{self.batch_id}-{self.attempt_id}"
