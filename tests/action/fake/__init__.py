"""Stands where the guard would be, so that the action's own part can be seen alone."""

__version__ = "0.0.0+fake"
