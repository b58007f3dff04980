"""A small internet in a network namespace: names, servers that record what they receive, a certificate authority.

Nothing in it can be reached from the machine, and nothing in it can reach the machine: the namespace has loopback only.
"""

from tests.world.guard import Outcome
from tests.world.internet import World

__all__ = ["Outcome", "World"]
