"""Linux, one thing a file: tried on machines and namespaces that the tests make."""
