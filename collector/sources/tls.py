"""Which kubelet is believed to be one, decided before anything is sent to it."""

import hashlib
import logging
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.errors import StartError
from collector.sources.addresses import is_ip
from collector.sources.pins import Pins
from collector.watchedfiles import FileFault, NamedFile, WatchedFiles

if TYPE_CHECKING:
    from collector.sources.target import KubeletOptions, KubeletTarget

log = logging.getLogger(__name__)

Identity = Literal["verify", "pin", "insecure"]
"""What is accepted of a kubelet.

`verify` accepts a certificate that a given CA signed for the asked name; `pin` the key that the node showed first;
`insecure` anything.
"""


class Peer(NamedTuple):
    """Whom a connection leads to: it is lent to nobody else."""

    address: str
    """an IP address, or a DNS name"""
    port: int
    subject: str = ""
    """whom it was accepted as: a node's name or uid; empty where the address alone counts, or nothing does"""
    node: str = ""
    """the node's name, for messages and for the certificate"""


class OtherNameError(OSError):
    """A certificate that is for neither of two names."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"it is for {', '.join(names) or 'no name'}")
        self.names: Final = names
        """what it is for"""


class KubeletIdentity:
    """`load` first. `admit` says whether the other side of a handshake is the kubelet that is meant."""

    def __init__(self, options: "KubeletOptions") -> None:
        self._mode: Final = options.identity
        self._name = options.verify_name
        self._pins = options.pins if options.pins is not None else Pins()
        self._ca_files = options.ca_files
        files = [NamedFile("CA file", path) for path in options.ca_files] if self._mode == "verify" else []
        self._authorities: Final = len(files)
        self._shown = (options.client_certificate, options.client_key)
        named = zip(("client certificate", "client key"), self._shown, strict=True)
        files += [NamedFile(f"{what} for the kubelets,", path) for what, path in named if path is not None]
        self._files = WatchedFiles(files, self._built) if files else None
        self._context: ssl.SSLContext | None = None

    def load(self) -> None:
        """Read certificates and pins. Raises StartError."""
        if self._mode == "verify" and not self._ca_files:
            raise StartError(
                "kubelets are asked over https, but no CA is known to check their certificates with: "
                "name its file with --kubelet-ca-file, or accept the keys seen first with --kubelet-identity=pin, or "
                "any certificate with --kubelet-insecure-tls"
            )
        if self._files is not None:
            self._files.load()
            self._context = self._files.current()
        else:
            self._context = self._built(())
        if self._mode == "pin":
            self._pins.load()

    def refresh(self) -> bool:
        """Look at the files; whether what is accepted or shown has changed since the last look."""
        if self._files is None:
            return False
        before, self._context = self._context, self._files.current()
        return self._context is not before

    async def close(self) -> None:
        """Write the pins that are not written yet."""
        await self._pins.close()

    def peer(self, target: "KubeletTarget") -> Peer:
        """Whom a connection to this kubelet has to lead to."""
        if self._mode == "pin":
            return Peer(target.address, target.port, target.uid or target.node, target.node)
        if self._mode == "insecure" or self._name == "address":
            return Peer(target.address, target.port)
        return Peer(target.address, target.port, target.node, target.node)

    def wrap(self, sock: socket.socket, peer: Peer) -> ssl.SSLSocket:
        """The client side of TLS over a connected socket, before the handshake."""
        assert self._context is not None, "load comes first"
        # Go, too, names the host it asks for (SNI) only where that is no address.
        name = peer.node if self._context.check_hostname and self._name == "node" else peer.address
        # A cut answer is told by HTTP; a cut handshake shall be an error here.
        return self._context.wrap_socket(
            sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def admit(self, tls: ssl.SSLSocket, peer: Peer) -> None:
        """Accept the other side of a handshake. Raises OtherNameError, PinChangedError, ssl.SSLError.

        Nothing has been sent to it yet. With one name to verify OpenSSL has done so in the handshake.
        """
        if self._mode == "pin":
            self._pins.check(peer.subject, peer.node, fingerprint(tls.getpeercert(binary_form=True)))
        elif self._mode == "verify" and self._name == "any":
            names = _names(tls)
            if not any(_is_for(kind, value, peer) for kind, value in names):
                raise OtherNameError([value for _, value in names])

    def _built(self, contents: Sequence[bytes]) -> ssl.SSLContext:
        """What is accepted in a handshake and shown in it. Raises FileFault.

        Trust is what Go's verifier trusts, since that is what cluster certificates are made for: any given certificate
        is a root, self-signed or not. (From Python 3.13 on create_default_context would refuse CAs without a key
        identifier.)
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.hostname_checks_common_name = False
        context.check_hostname = self._mode == "verify" and self._name != "any"
        if self._mode == "verify":
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            for path, content in zip(self._ca_files, contents, strict=False):
                _trust(context, path, content)
        else:
            context.verify_mode = ssl.CERT_NONE
        certificate, key = self._shown
        if certificate is not None:
            try:
                context.load_cert_chain(certificate, key)
            except OSError as error:
                raise FileFault(
                    f"client certificate {certificate} (key {key or certificate}) for the kubelets cannot be used: "
                    f"{error}"
                ) from error
        return context


def fingerprint(certificate: bytes | None) -> str:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo), in hexadecimal digits. Raises ssl.SSLError.

    What `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` says: a certificate that is
    renewed with its key keeps it.
    """
    try:
        key = x509.load_der_x509_certificate(certificate or b"").public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    except Exception as error:  # whatever the library says to bytes that a stranger chose
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the certificate cannot be read") from error


def _trust(context: ssl.SSLContext, path: str, content: bytes) -> None:
    try:
        context.load_verify_locations(cadata=content.decode("ascii", "ignore"))  # comments may be in any language
    except (OSError, ValueError) as error:
        raise FileFault(
            f"CA file {path} for kubelet certificates cannot be used: {error}; it must hold PEM certificates"
        ) from error


def _names(tls: ssl.SSLSocket) -> list[tuple[str, str]]:
    """What a verified certificate is for: kind and value of its alternative names. A common name is none, as in Go."""
    certificate: dict[str, Any] = tls.getpeercert() or {}
    found: list[tuple[str, str]] = []
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in {"DNS", "IP Address"} and isinstance(value, str):
            found.append((kind, value.strip()))
    return found


def _is_for(kind: str, value: str, peer: Peer) -> bool:
    """Whether one alternative name is the node's name or the address dialled."""
    asked = {peer.node.lower(), peer.address.lower()}
    if kind == "IP Address":
        return any(is_ip(value) and ip_address(value) == ip_address(each) for each in asked if is_ip(each))
    return any(_matches(value.lower(), each) for each in asked if not is_ip(each))


def _matches(pattern: str, name: str) -> bool:
    """A name, or one whose first label is `*`, which stands for exactly one label (RFC 6125)."""
    if not pattern.startswith("*."):
        return pattern == name
    _, dot, rest = name.partition(".")
    return bool(dot) and rest == pattern[2:] and rest.count(".") >= 1
