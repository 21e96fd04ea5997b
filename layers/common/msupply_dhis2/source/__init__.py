"""Reading mSupply: one reader for each kind of database, one shape out."""
