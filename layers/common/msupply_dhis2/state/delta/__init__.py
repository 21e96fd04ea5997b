"""What DHIS2 has acknowledged, remembered so that only what changed is sent.

``record`` knows what may stand in DHIS2 for each value of an org unit and period, ``table`` keeps the records,
``filter`` decides by them what a run sends. docs/architecture.md says why no value is wrongly skipped.
"""
