"""The answer to one question of the preflight."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

DETAILS = 100
"""How many details a check holds: with all its checks a report must fit into an entry of the log (256 KB)."""


class Check(BaseModel):
    """The answer to one question.

    Attributes
    ----------
    ok
        Whether nothing needs to be done about it.
    to_note
        Whether it is worth knowing although it is well.
    message
        What was found; where it is not well, what to do.
    details
        Sentences about the single stores, items, data elements and so on.
    more_details
        How many of those there are beyond the ones that are listed.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    to_note: bool = False
    message: str
    details: tuple[str, ...] = ()
    more_details: int = 0

    def with_details(self, details: Sequence[str], more: int = 0) -> "Check":
        """Return the check with as many of the details as it may hold; ``more`` are not in the list at all."""
        more += max(0, len(details) - DETAILS)
        return self.model_copy(update={"details": tuple(details[:DETAILS]), "more_details": more})


def passed(name: str, message: str, details: Sequence[str] = ()) -> Check:
    """Return a check of what is well."""
    return Check(name=name, ok=True, message=message).with_details(details)


def noted(name: str, message: str, details: Sequence[str] = ()) -> Check:
    """Return a check of what is well, and worth knowing."""
    return Check(name=name, ok=True, to_note=True, message=message).with_details(details)


def failed(name: str, message: str, details: Sequence[str] = ()) -> Check:
    """Return a check of what is not well."""
    return Check(name=name, ok=False, message=message).with_details(details)
