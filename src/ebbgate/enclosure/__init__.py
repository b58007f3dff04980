"""Put the workload in front of the gate, and prove it."""
