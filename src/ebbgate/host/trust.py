"""Where programs look for certificate authorities, and how they are told of one more.

Two ways at once: variables that clients honour, and the bundle laid over the system's own bundle files inside the
enclosure, for clients that honour none (apt, wget, .NET). The machine's own files are never changed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import PlatformError

# Bundle files by distribution: Debian and Ubuntu, Alpine; Fedora and RHEL (two names); openSUSE; OpenSSL's own default.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
JAVA_STORES = ("/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts")
JAVA_PASSWORD = "changeit"  # noqa: S105 - the documented default of every JDK's cacerts; protects nothing
MAX_BUNDLE = 16 << 20

# Variable -> who reads it. All are set to the bundle's path. Left alone on purpose:
#   SSL_CERT_DIR    OpenSSL, Go and uv look there as well as into SSL_CERT_FILE, so a value of the user's does no harm
#   UV_NATIVE_TLS   uv reads SSL_CERT_FILE in every version; since 0.11 it prints a warning about the old variable each time
#   Bun, Deno       follow NODE_EXTRA_CA_CERTS and DENO_CERT; poetry, twine, Azure's CLI follow REQUESTS_CA_BUNDLE; helm,
#                   terraform, gh (Go), rustup, pixi (rustls) and .NET follow SSL_CERT_FILE
#   Chromium        and Electron have no variable: they read the user's NSS database. Dart and wget read the system's bundle
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Go, rustls-native-certs, uv, Ruby, PHP
    "REQUESTS_CA_BUNDLE",  # Python requests
    "CURL_CA_BUNDLE",  # curl, libcurl front ends
    "NODE_EXTRA_CA_CERTS",  # Node
    "PIP_CERT",  # pip
    "GIT_SSL_CAINFO",  # git
    "CARGO_HTTP_CAINFO",  # cargo
    "AWS_CA_BUNDLE",  # AWS CLI and SDKs
    "DENO_CERT",  # Deno
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",  # gRPC core
    "HTTPLIB2_CA_CERTS",  # httplib2
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",  # gcloud
    "HEX_CACERTS_PATH",  # Elixir's hex
    "NIX_SSL_CERT_FILE",  # Nix
    "SYSTEM_CERTIFICATE_PATH",  # Haskell's x509-system: stack, cabal (docs.haskellstack.org, FAQ)
    "npm_config_cafile",  # npm, yarn 1
    "YARN_HTTPS_CA_FILE_PATH",  # yarn 2+
    "BUNDLE_SSL_CA_CERT",  # Bundler
    "COMPOSER_CAFILE",  # Composer
    "PERL_LWP_SSL_CA_FILE",  # LWP
    "CONDA_SSL_VERIFY",  # conda
)


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """bundle: PEM, system roots and the run's CA. java_store: PKCS #12 with the same certificates."""

    bundle: bytes
    java_store: bytes


def system_bundle(environ: Mapping[str, str]) -> str:
    """The PEM file that OpenSSL on this machine verifies against: SSL_CERT_FILE or the distribution's.

    PlatformError when there is none: the gate would have to trust everybody.
    """
    candidates = [environ.get("SSL_CERT_FILE", ""), ssl.get_default_verify_paths().openssl_cafile, *SYSTEM_BUNDLES]
    for path in candidates:
        if path and os.path.isfile(path) and 0 < os.path.getsize(path) <= MAX_BUNDLE:
            return path
    raise PlatformError(
        "no system certificate bundle found",
        "upstream certificates are verified against it",
        "apt-get install ca-certificates, or set SSL_CERT_FILE",
    )


def variables(environ: Mapping[str, str], bundle: str, java_store: str) -> dict[str, str]:
    """The variables to set for the command so that its clients trust the run's CA."""
    changed = dict.fromkeys(BUNDLE_VARIABLES, bundle)
    changed |= {"UV_SYSTEM_CERTS": "true", "NODE_USE_SYSTEM_CA": "1"}
    java = f"-Djavax.net.ssl.trustStore={java_store} -Djavax.net.ssl.trustStorePassword={JAVA_PASSWORD}"
    changed["JAVA_TOOL_OPTIONS"] = " ".join(part for part in (environ.get("JAVA_TOOL_OPTIONS", ""), java) if part)
    return changed


def overlays() -> list[tuple[str, str]]:
    """(real path, "bundle" or "java") of the system files that the enclosure lays its own over, each once."""
    found: dict[str, str] = {}
    for kind, paths in (("bundle", SYSTEM_BUNDLES), ("java", JAVA_STORES)):
        for path in paths:
            if os.path.isfile(path):
                found[str(Path(path).resolve())] = kind
    return sorted(found.items())
