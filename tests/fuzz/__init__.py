"""Hostile bytes for everything that reads them. ``targets`` is the table; ``make fuzz`` runs it for long."""
