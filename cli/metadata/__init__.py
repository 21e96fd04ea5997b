"""DHIS2 set up from mSupply: what to make, how it differs from what is there, the files, and the import."""
