"""Telling people: one renderer a file. All of them show the same facts, ``interface.RunReport``."""
