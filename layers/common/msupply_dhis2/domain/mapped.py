"""What mSupply's database tells the connection test: which stores and items are mapped to what of DHIS2.

Compute alone reaches the database, and Lambda carries at most 6 MB from one function to the other. So the lists
are bare tuples, and each of them ends before it gets too large.
"""

from datetime import date
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class MappedStore(NamedTuple):
    """A store, or a customer, that is sent, and the identifier of its org unit in the org unit scheme."""

    name: str
    code: str
    org_unit: str


class MappedItem(NamedTuple):
    """An item that is sent, and what its data elements are called in the data element ID scheme, prefix included.

    There is one for each active row of the settings, in their order; ``None`` where the item has none for the row.
    """

    name: str
    code: str
    data_elements: tuple[str | None, ...]


class CustomerReports(BaseModel):
    """How many customers that are not stores there are, with an org unit (``mapped``) and without (``blank``).

    Of the former so many report in each period that a run would send (``reporting``, by label), and none of the ``silent``
    from the day ``since`` on, which begins the third of these periods before the end. ``details`` are sentences about those
    that are silent, then those that are blank.
    """

    mapped: int
    blank: int
    reporting: dict[str, int]
    silent: int
    since: date
    details: tuple[str, ...]


class MappedNames(BaseModel):
    """The stores, customers that are not stores, and items that are mapped; ``more_…`` is how many there are beyond those that are listed.

    ``skipped`` are sentences about stores and items that are not sent (``skipped_stores``: how many of them are
    about stores), ``notes`` about all of them.
    """

    stores: tuple[MappedStore, ...] = ()
    items: tuple[MappedItem, ...] = ()
    more_stores: int = 0
    more_items: int = 0
    skipped: tuple[str, ...] = ()
    more_skipped: int = 0
    notes: tuple[str, ...] = ()
    skipped_stores: int = 0
    customers: CustomerReports | None = None


class DatabaseAnswer(BaseModel):
    """What is known of mSupply's database: a sentence, and what is mapped, where the settings tell how."""

    model_config = ConfigDict(frozen=True)

    message: str
    mapped: MappedNames | None = None
