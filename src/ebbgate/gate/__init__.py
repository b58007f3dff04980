"""The gate: the process that parses hostile bytes. One addon per concern; all of mitmproxy's internals in ``engine``."""
