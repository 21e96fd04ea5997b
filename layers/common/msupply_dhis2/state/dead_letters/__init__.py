"""Messages that could not be brought to DHIS2: kept with the reason, listed, and sent again."""
