"""Client certificates: what a connection showed, and which of it a set of CAs vouches for.

A handshake only proves that the other side holds the key of its certificate. Whether the certificate counts is decided
here, at each request and against the CAs of that moment, the way Go's verifier decides: any given certificate is a
root, times are checked, and every certificate below the root that restricts its usage must allow client authentication.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

_EXPIRED: Final = "x509: certificate has expired or is not yet valid"
_WRONG_USAGE: Final = "x509: certificate specifies an incompatible key usage"
_REASONS: Final = {
    2: "x509: certificate signed by unknown authority",
    9: _EXPIRED,
    10: _EXPIRED,
    18: "x509: certificate signed by unknown authority",
    19: "x509: certificate signed by unknown authority",
    20: "x509: certificate signed by unknown authority",
    21: "x509: certificate signed by unknown authority",
    79: "x509: certificate is not authorized to sign other certificates",
}
"""OpenSSL's number of a fault -> the words Go has for it, which clients of Heapster were shown."""

_CLIENT_USAGES: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


class Peer:
    """The other end of one TLS connection: the certificates it showed, its own first. Never empty.

    ValueError for a certificate that cannot be read; OpenSSL passes some of those.
    """

    __slots__ = ("__weakref__", "chain", "common_name", "organizations", "valid_from", "valid_until")

    def __init__(self, chain: Sequence[x509.Certificate]) -> None:
        self.chain: Final = tuple(chain)
        names = self._values(NameOID.COMMON_NAME)
        self.common_name: Final = names[-1] if names else ""
        """The last one of the subject, as Go reads it; empty when there is none."""
        self.organizations: Final = self._values(NameOID.ORGANIZATION_NAME)
        """Of the subject: Kubernetes reads them as groups."""
        self.valid_from: Final = chain[0].not_valid_before_utc
        self.valid_until: Final = chain[0].not_valid_after_utc

    def _values(self, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(entry.value) for entry in self.chain[0].subject.get_attributes_for_oid(oid))


class CaPool:
    """Some CAs."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._store = crypto.X509Store()
        self._store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # also a CA that another one signed is a root
        for certificate in certificates:
            self._store.add_cert(crypto.X509.from_cryptography(certificate))
        self._accepted: WeakKeyDictionary[Peer, dt.datetime] = WeakKeyDictionary()

    @classmethod
    def of_pem(cls, pem: str) -> "CaPool":
        """The CAs of a PEM bundle. ValueError when it holds no certificate or one that cannot be read."""
        return cls(x509.load_pem_x509_certificates(pem.encode()))

    def fault(self, peer: Peer) -> str | None:
        """Why these CAs do not vouch for the certificate of `peer`, in Go's words; None when they do.

        A good verdict is kept for the life of the connection, up to the first expiry.
        """
        now = dt.datetime.now(dt.UTC)
        if now < self._accepted.get(peer, now):
            return None
        if not peer.valid_from <= now <= peer.valid_until:
            return _EXPIRED
        certificate, *others = map(crypto.X509.from_cryptography, peer.chain)
        try:
            chain = crypto.X509StoreContext(self._store, certificate, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            return _REASONS.get(error.errors[0], f"x509: {error}")
        verified = [link.to_cryptography() for link in chain]
        if not all(map(_allows_clients, verified[:-1] or verified)):
            return _WRONG_USAGE
        self._accepted[peer] = min(link.not_valid_after_utc for link in verified)
        return None


def _allows_clients(certificate: x509.Certificate) -> bool:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        # An extension that cannot be read might restrict anything.
        return False
    return not _CLIENT_USAGES.isdisjoint(usages)
