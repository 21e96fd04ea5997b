"""The preflight: what a push needs beside the connection, one check for each question."""
