"""DHIS2: its client, and reading what it answers."""
