"""The three jobs on AWS: where settings, secrets, queue, table and log meet them."""
