"""Linux, one thing a file. Every function that touches the system takes its target as a parameter."""
