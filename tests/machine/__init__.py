"""A runner machine in namespaces, beside an internet of local servers; and a real Docker daemon in it."""

from tests.machine.docker import start_docker
from tests.machine.machine import Machine

__all__ = ["Machine", "start_docker"]
