"""Open mSupply's own database as a source."""

from msupply_dhis2.source.open_msupply.reader import OpenMsupply

__all__ = ["OpenMsupply"]
