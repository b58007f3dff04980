"""Hosts where any account can store what it likes, so that allowing them whole allows sending anything to anybody.

From what attacks used: repositories, gists and release assets made with the victim's or the attacker's own token, packages
published under another name, buckets of anybody. A suffix means the host and everything below it.
"""

from __future__ import annotations

from collections.abc import Mapping

_HOSTS: tuple[tuple[str, str], ...] = (
    (
        "any account can make repositories, gists, issues and releases there",
        "github.com api.github.com uploads.github.com gitlab.com bitbucket.org api.bitbucket.org codeberg.org gitea.com",
    ),
    (
        "any account can publish a package there",
        """
        registry.npmjs.org upload.pypi.org test.pypi.org crates.io rubygems.org www.nuget.org packagist.org hex.pm
        central.sonatype.com registry-1.docker.io ghcr.io quay.io registry.gitlab.com npm.pkg.github.com
        """,
    ),
    (
        "anybody's buckets are on this host: the path says whose",
        """
        s3.amazonaws.com storage.googleapis.com storage.cloud.google.com firebasestorage.googleapis.com
        s3.us-east-1.amazonaws.com s3.us-east-2.amazonaws.com s3.us-west-1.amazonaws.com s3.us-west-2.amazonaws.com
        s3.eu-west-1.amazonaws.com s3.eu-west-2.amazonaws.com s3.eu-west-3.amazonaws.com s3.eu-central-1.amazonaws.com
        s3.eu-north-1.amazonaws.com s3.ap-northeast-1.amazonaws.com s3.ap-southeast-1.amazonaws.com
        s3.ap-southeast-2.amazonaws.com s3.ap-south-1.amazonaws.com s3.ca-central-1.amazonaws.com s3.sa-east-1.amazonaws.com
        """,
    ),
    (
        "any account's telemetry goes to the same host: the key says whose",
        """
        sentry.io ingest.sentry.io api.segment.io api.mixpanel.com api.amplitude.com api2.amplitude.com app.posthog.com
        browser-intake-datadoghq.com http-intake.logs.datadoghq.com api.honeycomb.io
        """,
    ),
    (
        "any account's files and prompts go to the same host: the key says whose",
        """
        api.anthropic.com api.openai.com generativelanguage.googleapis.com huggingface.co api.pinata.cloud
        content.dropboxapi.com api.dropboxapi.com www.googleapis.com graph.microsoft.com
        """,
    ),
)
WRITTEN_BY_ANYBODY: Mapping[str, str] = {host: why for why, hosts in _HOSTS for host in hosts.split()}


def written_by_anybody(host: str) -> str:
    """Why a canonical host takes data from any account; "" when none is known."""
    suffix = host
    while suffix:
        if suffix in WRITTEN_BY_ANYBODY:
            return WRITTEN_BY_ANYBODY[suffix]
        suffix = suffix.partition(".")[2]
    return ""
