"""From a batch to DHIS2, and what became of each of its values; ``job`` tells it in order."""
