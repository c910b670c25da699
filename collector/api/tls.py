"""What a TLS server of ours shows and asks for: certificate pairs, the choice among them, the client's certificate.

A pair is read from its files again as soon as they change (collector/watchedfiles.py); a connection uses the pair of
the moment it began. A client certificate is asked for, never demanded and not judged here: that is the gate's business,
which can answer in words (docs/decisions/0006).
"""

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL

from collector.errors import UsageError
from collector.kube.certificates import CaPool
from collector.watchedfiles import FileFault, NamedFile, WatchedFiles

log = logging.getLogger(__name__)

_PROTOCOL: Final = b"http/1.1"


@dataclass(frozen=True, slots=True)
class Pair:
    """One certificate ready to be shown."""

    context: SSL.Context
    names: frozenset[str]
    """The host names it is for, lower case; `*.` stands for one label."""


class PairSource(Protocol):
    """Where a server's certificate comes from."""

    choose: Callable[[SSL.Connection], None] | None
    """Called with each connection whose client names a host; set before `load`."""

    def load(self) -> None:
        """Get the pair for the first time. Raises StartError."""

    def current(self) -> Pair:
        """The pair to show now."""


class PairFiles:
    """A certificate and its key on disk; `names`, where given, take the place of those in the certificate."""

    def __init__(self, certificate: NamedFile, key: NamedFile, names: Sequence[str] = (), *, ask_client: bool) -> None:
        self.names: Final = frozenset(name.lower() for name in names)
        self.choose: Callable[[SSL.Connection], None] | None = None
        """Called with each connection whose client names a host; set before `load`."""
        self._certificate = certificate
        self._key = key
        self._ask_client = ask_client
        self._files = WatchedFiles([certificate, key], self._build)

    def load(self) -> None:
        """Read the pair for the first time. Raises StartError."""
        self._files.load()

    def current(self) -> Pair:
        """The pair as it is on disk now, or the last one that was good."""
        return self._files.current()

    def _build(self, contents: Sequence[bytes]) -> Pair:
        chain = read_certificates(contents[0], self._certificate)
        now = dt.datetime.now(dt.UTC)
        if chain[0].not_valid_after_utc < now:
            log.warning("%s expired on %s; clients will refuse it", self._certificate, chain[0].not_valid_after_utc)
        try:
            key = serialization.load_pem_private_key(contents[1], password=None)
        except TypeError as error:
            raise FileFault(f"{self._key} is encrypted: give a key without a passphrase") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise FileFault(f"{self._key} holds no private key in PEM form") from error
        try:
            return make_pair(chain, key, self.names, ask_client=self._ask_client, choose=self.choose)
        except (SSL.Error, TypeError) as error:
            raise FileFault(f"{self._key} is not the key of {self._certificate}: {_words(error)}") from error


def make_pair(
    chain: Sequence[x509.Certificate],
    key: PrivateKeyTypes,
    names: frozenset[str] = frozenset(),
    *,
    ask_client: bool,
    choose: Callable[[SSL.Connection], None] | None,
) -> Pair:
    """A certificate, those that signed it, and its key. Raises SSL.Error or TypeError where the key is not its own."""
    context = _server_context(ask_client=ask_client, choose=choose)
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)  # type: ignore[arg-type]  # the kinds TLS has no use for raise TypeError
    context.check_privatekey()
    return Pair(context, names or certificate_names(chain[0]))


class ServingCertificates:
    """The pairs of one server: the default one, and others by the host name that a client asks for (SNI)."""

    def __init__(self, default: PairSource, others: Sequence[PairFiles] = ()) -> None:
        self._default = default
        self._others = tuple(others)
        if others:
            default.choose = self._choose

    def load(self) -> None:
        """Read every pair. Raises StartError."""
        for pair in (self._default, *self._others):
            pair.load()

    def connection(self) -> SSL.Connection:
        """The server's side of a new TLS connection, over memory; the choice by name is made during the handshake."""
        made = SSL.Connection(self._default.current().context)
        made.set_accept_state()
        return made

    def _choose(self, connection: SSL.Connection) -> None:
        asked = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        chosen = self._named(asked) if asked else None
        if chosen is not None:
            connection.set_context(chosen.context)

    def _named(self, name: str) -> Pair | None:
        pairs = [pair.current() for pair in self._others]
        wildcard = "*." + name.partition(".")[2]
        return next((pair for wanted in (name, wildcard) for pair in pairs if wanted in pair.names), None)


def ca_files(flag: str, path: str) -> WatchedFiles[CaPool]:
    """The CAs in one file; its `load` raises StartError."""
    file = NamedFile(flag, path)
    return WatchedFiles([file], lambda contents: CaPool(read_certificates(contents[0], file)))


def read_certificates(pem: bytes, where: NamedFile) -> list[x509.Certificate]:
    """The certificates of a PEM bundle, at least one. Raises FileFault."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise FileFault(f"{where} holds no certificates in PEM form: {error}") from error


def certificate_names(certificate: x509.Certificate) -> frozenset[str]:
    """The host names a certificate is for: its alternative names and its common name, lower case."""
    names = [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += alternatives.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        pass
    return frozenset(name.lower() for name in names)


def sni_pair(text: str, *, ask_client: bool) -> PairFiles:
    """The pair that `--tls-sni-cert-key=CERT,KEY[:NAME,...]` names. Raises UsageError."""
    files, _, names = text.partition(":")
    certificate, comma, key = files.partition(",")
    if not comma or not certificate or not key or "," in key:
        raise UsageError(f"--tls-sni-cert-key {text!r}: write CERT,KEY or CERT,KEY:NAME,NAME")
    flag = "--tls-sni-cert-key"
    wanted = [name for name in names.split(",") if name]
    return PairFiles(NamedFile(flag, certificate), NamedFile(flag, key), wanted, ask_client=ask_client)


def _server_context(*, ask_client: bool, choose: Callable[[SSL.Connection], None] | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    # A resumed session would bring a client back without its intermediate certificates, and past a CA replaced since.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_select_callback(_protocol)
    if ask_client:
        context.set_verify(SSL.VERIFY_PEER, _any_certificate)
    if choose is not None:
        context.set_tlsext_servername_callback(choose)
    return context


def _protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/1.1, whatever else is offered; a client that names other protocols only gets no word on it."""
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _any_certificate(*_verdict: object) -> bool:
    return True


def _words(error: Exception) -> str:
    """The reason OpenSSL gives."""
    queue = error.args[0] if error.args else ()
    return "; ".join(str(entry[-1]) for entry in queue) if isinstance(queue, list) and queue else "they do not match"
