"""What fuzzing has found, by target: input and what happened. Each is run with every change."""

from __future__ import annotations

FOUND: dict[str, dict[str, bytes]] = {}
