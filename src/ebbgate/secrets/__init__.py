"""What must not leave. Pure: known values, the forms they are written in, and the scanner that finds them."""
