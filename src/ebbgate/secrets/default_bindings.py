"""Where well-known credentials go when the user has said nothing. Sources: the issuers' own client documentation.

Short on purpose: a wrong line here lets a secret through, a missing one costs a ``secrets:`` entry in the policy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DefaultBinding:
    """hosts: canonical names, or ``*.suffix``. places: as in the policy's ``in``."""

    hosts: tuple[str, ...]
    places: tuple[str, ...] = ("authorization",)


_GITHUB = DefaultBinding(
    (
        "api.github.com",
        "github.com",
        "uploads.github.com",
        "codeload.github.com",
        "raw.githubusercontent.com",
        "ghcr.io",
        "npm.pkg.github.com",
        "maven.pkg.github.com",
        "nuget.pkg.github.com",
        "rubygems.pkg.github.com",
    )
)
_ACTIONS = DefaultBinding(("*.actions.githubusercontent.com", "results-receiver.actions.githubusercontent.com"))
_NPM = DefaultBinding(("registry.npmjs.org",))
_PYPI = DefaultBinding(("upload.pypi.org",))
_TEST_PYPI = DefaultBinding(("test.pypi.org",))

DEFAULTS: dict[str, DefaultBinding] = {
    "GITHUB_TOKEN": _GITHUB,
    "GH_TOKEN": _GITHUB,
    "ACTIONS_RUNTIME_TOKEN": _ACTIONS,
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": _ACTIONS,
    "NPM_TOKEN": _NPM,
    "NODE_AUTH_TOKEN": _NPM,
    "TWINE_PASSWORD": _PYPI,
    "PYPI_TOKEN": _PYPI,
    "PYPI_API_TOKEN": _PYPI,
    "UV_PUBLISH_TOKEN": _PYPI,
    "TEST_PYPI_TOKEN": _TEST_PYPI,
    "CARGO_REGISTRY_TOKEN": DefaultBinding(("crates.io",)),
    "GITLAB_TOKEN": DefaultBinding(("gitlab.com", "registry.gitlab.com"), ("authorization", "header:private-token")),
    "HF_TOKEN": DefaultBinding(("huggingface.co",)),
    "SONAR_TOKEN": DefaultBinding(("sonarcloud.io", "api.sonarcloud.io")),
}
