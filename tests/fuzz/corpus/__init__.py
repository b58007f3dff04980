"""What fuzzing begins with, and what it has found: made by code, so that it can be read."""
