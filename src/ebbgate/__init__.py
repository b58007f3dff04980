"""Ebbgate: a runtime egress guard for CI runners."""

__version__ = "0.1.0"
