"""Twelve stock metrics from mSupply to DHIS2."""

__version__ = "0.1.0"
