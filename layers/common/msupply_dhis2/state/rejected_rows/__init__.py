"""The rows that are not in DHIS2, as a file for people: what each delivery leaves, and a run's file made of it."""
