"""What may leave. Pure: models, matching and decisions; the only input is policy text and packaged preset data."""
