"""What became of each run, value by value: it adds up to what was computed.

A run has a row with its counts, and a row for each part that compute works and for each message on the queue. Rows are
changed together with the counts, or not at all, so that no retry, no duplicate and no crash counts anything twice.
"""
