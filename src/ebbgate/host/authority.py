"""The run's certificate authority. Its key exists in memory only, and ends with the run.

For a sealed command the gate makes it and never gives it away. For a whole job the warden makes it and hands it to each gate
over their private channel, so that a gate's successor signs alike.
"""

from __future__ import annotations

import datetime
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ebbgate.host.trust import JAVA_PASSWORD, TrustFiles

# A machine's clock can jump while a job runs: one that was made from a snapshot wakes up in the past. The key ends with the run
# whatever the certificate says; a job may last 35 days (GitHub, self-hosted).
VALIDITY = datetime.timedelta(days=366)
CLOCK_SKEW = datetime.timedelta(days=366)
_JAVA_KDF_ROUNDS = 2048  # the store holds public certificates; its password is published


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority. The key's type keeps handshakes cheap: P-256 signs ten times faster than RSA-2048."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def to_pem(self) -> tuple[bytes, bytes]:
        """(key, certificate) for the private channel to a gate; the one deliberate way out of the process."""
        key = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return key, self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def from_pem(cls, key: bytes, certificate: bytes) -> Authority:
        """The reverse of ``to_pem``. ValueError for anything else."""
        loaded = serialization.load_pem_private_key(key, None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("not an elliptic curve key")
        return cls(loaded, x509.load_pem_x509_certificate(certificate))

    def trust_files(self, system_bundle: bytes) -> TrustFiles:
        """Bundle and Java store with the system's roots and this authority."""
        ours = self.certificate.public_bytes(serialization.Encoding.PEM)
        return TrustFiles(system_bundle.rstrip(b"\n") + b"\n" + ours, _java_store(system_bundle, self.certificate))


def new_authority(name: str) -> Authority:
    """A fresh authority. name: common name, shown by clients as the issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ebbgate")])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def _java_store(system_bundle: bytes, ours: x509.Certificate) -> bytes:
    """PKCS #12 as ``keytool`` makes it. A root that does not parse is left out: Java would refuse the whole store."""
    entries = [pkcs12.PKCS12Certificate(ours, b"ebbgate")]
    for number, pem in enumerate(system_bundle.split(b"-----END CERTIFICATE-----")[:-1]):
        start = pem.find(b"-----BEGIN CERTIFICATE-----")
        if start < 0:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # old roots break RFC 5280 in ways that harm nobody
                root = x509.load_pem_x509_certificate(pem[start:] + b"-----END CERTIFICATE-----\n")
        except ValueError:
            continue
        entries.append(pkcs12.PKCS12Certificate(root, b"system-%d" % number))
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_JAVA_KDF_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(JAVA_PASSWORD.encode())
    )
    return pkcs12.serialize_java_truststore(entries, encryption)
