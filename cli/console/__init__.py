"""The console: the DHIS2 tab as pages on one's own machine, for nobody but the browser that opened the printed address.

The pages do what the commands do, through the same code (``cli.local``): they read a form, call, and show the result.
"""
