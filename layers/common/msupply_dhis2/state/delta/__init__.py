"""What DHIS2 has acknowledged, remembered so that only what changed is sent: docs/architecture.md says why that is right."""
