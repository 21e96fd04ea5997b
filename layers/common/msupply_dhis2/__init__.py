"""Twelve stock metrics from mSupply to DHIS2."""

import gc

# Modules, the descriptions of AWS's services and the rows in memory are objects in no cycle, many at once. To search them
# for cycles at each 2,000, as Python does, takes a twelfth of a cold start.
gc.set_threshold(200_000)

__version__ = "0.1.0"
