"""What the tests use to invoke the functions as Lambda does."""
