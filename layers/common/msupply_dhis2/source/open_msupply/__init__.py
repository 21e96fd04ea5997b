"""Open mSupply's own database as a source."""
