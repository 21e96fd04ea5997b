"""From mSupply's database to batches of data values on the queue; ``job`` tells it in order."""
