"""What a person runs: the command ``msupply-dhis2``, on one's own machine or on a stack. Never deployed.

``commands`` holds a file for each group of commands: thin functions that read options, call a function of this package
which returns data, and print it. So whatever shows the same elsewhere calls the same functions.
"""
