"""Stock ledger and the twelve metrics: pure functions, no input or output."""
