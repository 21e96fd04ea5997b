"""The PostgreSQL mirror of the older mSupply (4D) as a source."""

from msupply_dhis2.source.mirror.reader import Mirror

__all__ = ["Mirror"]
