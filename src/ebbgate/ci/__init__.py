"""Where a job's context, inputs and outputs come from: one CI system a file."""
