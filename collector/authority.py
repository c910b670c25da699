"""A CA of our own and the certificate it signs for the second server. Nothing here is read, written or sent.

A serving certificate is short-lived; so, on a longer scale, is its CA. A new CA is trusted before it signs: for some
time the bundle holds both, so that whoever verifies us has the new one before it is needed, and no client sees a
certificate it cannot verify. `Keyring.step` does whatever is due.
"""

import datetime as dt
import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED: Final = dt.timedelta(hours=1)
"""Certificates begin so long before they are made: clocks of a cluster differ."""

CA_NAME: Final = "heapster serving CA "
_LONGEST_NAME: Final = 64
"""Characters of a common name or an organization (RFC 5280, appendix A)."""


@dataclass(frozen=True, slots=True)
class Service:
    """The Kubernetes service that leads to us."""

    name: str
    namespace: str

    @property
    def host(self) -> str:
        """The name that the aggregation layer verifies."""
        return f"{self.name}.{self.namespace}.svc"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every form of its name, and this machine's own."""
        return (self.host, f"{self.host}.cluster.local", f"{self.name}.{self.namespace}", self.name, "localhost")

    @property
    def mark(self) -> str:
        """The organization in the names of its CAs: how one replica knows those of the others."""
        if len(self.host) <= _LONGEST_NAME:
            return self.host
        return hashlib.sha256(self.host.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Lives:
    """How long things last. Each is renewed when a third of its life is left."""

    serving: dt.timedelta = dt.timedelta(days=7)
    authority: dt.timedelta = dt.timedelta(days=90)
    overlap: dt.timedelta = dt.timedelta(days=1)
    """How long a new CA has been trusted before it signs."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def left(self, now: dt.datetime) -> dt.timedelta:
        """How long it is still good."""
        return self.certificate.not_valid_after_utc - now

    def signed(self, other: "Signed") -> bool:
        """Whether `other` was signed with this key."""
        try:
            other.certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


@dataclass(slots=True)
class Keyring:
    """The CAs of one process, oldest first, and the certificate it shows."""

    service: Service
    addresses: Sequence[str] = ()
    """IP addresses the certificate is for."""
    lives: Lives = field(default_factory=Lives)
    authorities: list[Signed] = field(default_factory=list)
    serving: Signed | None = None
    _trusted: dict[int, dt.datetime] = field(default_factory=dict, init=False)
    """Serial number of a CA -> since when it is known to be in everybody's hands."""

    def bundle(self) -> tuple[x509.Certificate, ...]:
        """What those who verify us have to trust."""
        return tuple(authority.certificate for authority in self.authorities)

    def issuer(self) -> Signed | None:
        """The CA that signed the certificate shown."""
        serving = self.serving
        return next((each for each in self.authorities if serving is not None and each.signed(serving)), None)

    def trust(self, bundle: Sequence[x509.Certificate], now: dt.datetime) -> None:
        """These CAs are in everybody's hands."""
        for certificate in bundle:
            self._trusted.setdefault(certificate.serial_number, now)

    def step(self, now: dt.datetime) -> bool:
        """Do what is due; whether anything has changed."""
        before = (self.bundle(), self.serving)
        self.authorities = [each for each in self.authorities if each.left(now) > dt.timedelta()]
        if not self.authorities or self.authorities[-1].left(now) < self.lives.authority / 3:
            self.authorities.append(_authority(self.service, now, self.lives.authority))
        signer = self._signer(now)
        if self.issuer() is not signer or self._is_due(now):
            self.serving = _serving(signer, self.service, self.addresses, now, self.lives.serving)
        return before != (self.bundle(), self.serving)

    def _signer(self, now: dt.datetime) -> Signed:
        """The newest CA that is trusted for long enough, or that the older ones must make way for."""
        issuer = self.issuer()
        *older, newest = self.authorities
        since = self._trusted.get(newest.certificate.serial_number)
        if newest is issuer or not older or older[-1].left(now) <= self.lives.serving / 3:
            return newest
        return newest if since is not None and now - since >= self.lives.overlap else older[-1]

    def _is_due(self, now: dt.datetime) -> bool:
        assert self.serving is not None, "an issuer was found"
        names = self.serving.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self.serving.left(now) < self.lives.serving / 3 or names != _alternatives(self.service, self.addresses)


def is_authority_of(mark: str, certificate: x509.Certificate) -> bool:
    """Whether this is a CA of a service with this mark, ours or another replica's."""
    organizations = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    names = [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if organizations != [mark] or not any(name.startswith(CA_NAME) for name in names):
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False


def _authority(service: Service, now: dt.datetime, life: dt.timedelta) -> Signed:
    # A name of its own for each: nobody has to try several keys of one name.
    own = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, service.mark),
        x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME + secrets.token_hex(8)),
    ]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(own)
    builder = _builder(name, name, key, now, now + life)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Signed(builder.sign(key, hashes.SHA256()), key)


def _serving(
    signer: Signed, service: Service, addresses: Sequence[str], now: dt.datetime, life: dt.timedelta
) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service.host[:_LONGEST_NAME])])
    until = min(now + life, signer.certificate.not_valid_after_utc)
    own = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(name, signer.certificate.subject, key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternatives(service, addresses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
    )
    return Signed(builder.sign(signer.key, hashes.SHA256()), key)


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, until: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _alternatives(service: Service, addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in service.hosts]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    return x509.SubjectAlternativeName(names)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
