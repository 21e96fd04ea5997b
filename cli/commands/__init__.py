"""The commands, a file for each group: they read options, call what does the work, and print what it returns."""
