"""Where a number comes from: what it is made of, how it is worked out, and what became of it."""
