"""What a person runs: the commands, on one's own machine or on a stack. Never deployed."""
