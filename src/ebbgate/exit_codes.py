"""Exit codes of ``ebbgate``: a contract with whoever scripts it.

A clean run ends with the command's own code, which may be any. The others were chosen high and rarely used by programs.
"""

from __future__ import annotations

FINDINGS = 1  # `check` has something to look at; `diff` found more reachable than before; `import` left something out
BAD_USAGE = 2  # bad options or policy; nothing was run
PLATFORM = 3  # this machine lacks something; nothing was run
BLOCKED = 90  # a destination that no rule allows was refused
EXFILTRATION = 91  # a secret was about to leave
TAMPERED = 92  # the guard or its enclosure was changed
BROKEN = 93  # the guard failed; nothing left after that
