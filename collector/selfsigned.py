"""A certificate that nobody signed: what the second server shows when it is given none, as API servers do."""

import datetime as dt
import ipaddress
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from collector.errors import StartError

log = logging.getLogger(__name__)

HOST: Final = "heapster.kube-system"
NAMES: Final = (HOST, "heapster", f"{HOST}.svc", f"{HOST}.svc.cluster.local", "localhost")
"""What the pair is for: the service that the aggregator asks for, in every form of its name."""

_LIFE: Final = dt.timedelta(days=3650)
"""Longer than any process of ours lives: nothing here would notice the day it ends."""


def self_signed_pair(directory: str, addresses: Sequence[str]) -> tuple[str, str]:
    """The paths of `apiserver.crt` and `apiserver.key` in `directory`, made when they are not there or out of date.

    `addresses` are IP addresses the certificate is for, besides NAMES. Raises StartError.
    """
    folder = Path(directory)
    certificate, key = folder / "apiserver.crt", folder / "apiserver.key"
    if key.exists() and _usable(certificate):
        return str(certificate), str(key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pem, key_pem = _make(addresses)
        _write(key, key_pem, 0o600)
        _write(certificate, pem, 0o644)
    except OSError as error:
        raise StartError(
            f"--cert-dir {directory}: no certificate can be written there: {error.strerror or error}; choose a "
            "writable directory, or give a pair with --tls-cert-file and --tls-private-key-file"
        ) from error
    log.info("--cert-dir %s: a self-signed certificate for %s was made", directory, HOST)
    return str(certificate), str(key)


def _usable(certificate: Path) -> bool:
    """Whether the certificate there can be kept; one that cannot be read is, so that its fault is told, not hidden."""
    if not certificate.exists():
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return True
    return found.not_valid_after_utc > dt.datetime.now(dt.UTC)


def _make(addresses: Sequence[str]) -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{HOST}@{int(now.timestamp())}")])
    alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in NAMES]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)  # may be named as its own CA
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put `content` into place at once, never readable by more than `mode` says."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
