"""One module a function: where a job meets queue, secrets, tables and log."""
