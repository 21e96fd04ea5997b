"""What the watchdog looks for once a day: runs that did not take place, and runs that do not end."""
