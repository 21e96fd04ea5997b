"""What is remembered between invocations."""
