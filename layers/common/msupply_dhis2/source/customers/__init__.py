"""Customers that are not stores: who they are, and what they report (docs/msupply.md). The ledger knows nothing of them."""

from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers.base import Customers
from msupply_dhis2.source.customers.mirror import MirrorCustomers
from msupply_dhis2.source.customers.open_msupply import OpenMsupplyCustomers
from msupply_dhis2.source.mirror.reader import Mirror
from msupply_dhis2.source.open_msupply.reader import OpenMsupply


def customers_of(source: Source) -> Customers:
    """Return what reads the customers of a database; ``SourceError`` where it lacks what that takes."""
    if isinstance(source, OpenMsupply):
        return OpenMsupplyCustomers(source)
    assert isinstance(source, Mirror)  # noqa: S101 - tells mypy: there are two kinds
    return MirrorCustomers(source)
