"""The directory of our own certificates (`--cert-dir`): what a restarted process goes on with.

file              mode   what
ca.crt            0644   the CAs to trust, for clients that verify us by themselves
apiserver.crt     0644   the certificate shown, and the CA that signed it
apiserver.key     0600   its key
authorities.pem   0600   the CAs with their keys, oldest first
"""

import datetime as dt
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collector.authority import Keyring, Signed, is_authority_of

log = logging.getLogger(__name__)

CERTIFICATE, KEY, BUNDLE, AUTHORITIES = "apiserver.crt", "apiserver.key", "ca.crt", "authorities.pem"

_SELF_SIGNED: Final = re.compile(r"CN=[^,]+@[0-9]{9,}$")
"""The name Kubernetes' servers, Heapster among them, give to a certificate that they sign themselves."""

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


def given_pair(directory: str, mark: str) -> tuple[str, str] | None:
    """The paths of a pair that somebody else put there and that is good: it is used as it is, as Heapster used it."""
    certificate, key = Path(directory, CERTIFICATE), Path(directory, KEY)
    try:
        found, *others = x509.load_pem_x509_certificates(certificate.read_bytes())
        usable = key.exists()
    except (OSError, ValueError):
        return None
    ours = any(is_authority_of(mark, other) for other in others)
    passing = _SELF_SIGNED.search(found.subject.rfc4514_string()) is not None and found.issuer == found.subject
    if not usable or ours or passing or found.not_valid_after_utc <= dt.datetime.now(dt.UTC):
        return None
    return str(certificate), str(key)


def load(directory: str, keyring: Keyring) -> None:
    """Put into `keyring` what is there and can be used; what cannot is logged and made anew."""
    folder = Path(directory)
    try:
        authorities = _pairs(Path(folder, AUTHORITIES).read_bytes())
        keyring.authorities = [each for each in authorities if is_authority_of(keyring.service.mark, each.certificate)]
        shown = Path(folder, CERTIFICATE).read_bytes(), Path(folder, KEY).read_bytes()
        keyring.serving = _pairs(b"".join(block[0] for block in _blocks(shown[0])[:1]) + shown[1])[0]
    except FileNotFoundError:
        return
    except (OSError, ValueError, IndexError) as error:
        log.warning("--cert-dir %s: what is there cannot be used and is made anew: %s", directory, error)


def save(directory: str, keyring: Keyring) -> None:
    """Write all of it, each file in one go. Raises OSError."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    serving, issuer = keyring.serving, keyring.issuer()
    assert serving is not None
    assert issuer is not None
    _write(folder / AUTHORITIES, b"".join(pem(each.certificate) + key_pem(each) for each in keyring.authorities), 0o600)
    _write(folder / BUNDLE, bundle_pem(keyring.bundle()), 0o644)
    _write(folder / KEY, key_pem(serving), 0o600)
    _write(folder / CERTIFICATE, pem(serving.certificate) + pem(issuer.certificate), 0o644)


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate in PEM form."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def bundle_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Some certificates in PEM form."""
    return b"".join(map(pem, certificates))


def key_pem(signed: Signed) -> bytes:
    """The key in PEM form, not encrypted."""
    return signed.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Text and kind of each PEM block."""
    return [(found[0], found[1]) for found in _BLOCK.finditer(content)]


def _pairs(content: bytes) -> list[Signed]:
    """Certificate, key, certificate, key, and so on. Raises ValueError where a key is not its certificate's."""
    texts = [text for text, _ in _blocks(content)]
    pairs = []
    for certificate_text, key_text in zip(texts[::2], texts[1::2], strict=True):
        certificate = x509.load_pem_x509_certificate(certificate_text)
        key = serialization.load_pem_private_key(key_text, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("a key is not that of its certificate")
        pairs.append(Signed(certificate, key))
    return pairs


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put `content` into place at once, never readable by more than `mode` says."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
