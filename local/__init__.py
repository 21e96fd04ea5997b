"""What runs on one's own machine: stand-in, sample database, demo. Never deployed."""
