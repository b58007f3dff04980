"""mitmproxy's package of addons without the addons: importing one module of it would import all of them, with a web framework,
a directory client and a parser generator, for a quarter of the gate's start. To be imported before any of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = "mitmproxy.addons"


def skip_package_imports() -> None:
    """Put an empty package in place, through which its modules are found one by one."""
    found = importlib.util.find_spec("mitmproxy")
    if _PACKAGE in sys.modules or found is None or not found.submodule_search_locations:
        return
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(place) / "addons") for place in found.submodule_search_locations]
    sys.modules[_PACKAGE] = package


skip_package_imports()
