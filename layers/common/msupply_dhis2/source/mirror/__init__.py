"""The PostgreSQL mirror of the older mSupply (4D) as a source."""
