"""An older value never overwrites a newer one, in whatever order messages arrive.

Decided value by value. Compute claims each value that it is about to send with the revision of what it read; push takes out
of a message what a later revision has claimed, and lets an older message that is in flight end first.
"""
