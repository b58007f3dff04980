"""Measurements, always side by side in one run: direct, Ebbgate, the full mitmdump, Squid with ssl-bump."""
