"""OwnCertificates: what the second server shows when it is given no certificate, renewed without a restart.

Kept in `--cert-dir` where that can be written to, else in memory. Open connections go on with what they began with.
"""

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from cryptography import x509
from OpenSSL import SSL

from collector import certdir
from collector.api.tls import Pair, make_pair
from collector.authority import Keyring, Service
from collector.selfmetrics import SelfMetrics

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
"""Between two looks at whether something is due; certificates last for days."""


class OwnCertificates:
    """A pair for `ServingCertificates`, and the CAs that vouch for it. `load` comes first; `run` keeps it fresh."""

    def __init__(self, keyring: Keyring, directory: str, metrics: SelfMetrics, *, published: bool) -> None:
        """`published`: somebody hands our CAs out and says so by `trust`; else they count as known once made."""
        self.choose: Callable[[SSL.Connection], None] | None = None
        self.changed = asyncio.Event()
        """Set whenever there is another CA to trust."""
        self._keyring = keyring
        self._directory = directory
        self._metrics = metrics
        self._published = published
        self._pair: Pair | None = None
        self._complaint = ""

    @property
    def service(self) -> Service:
        """The service the certificate is for."""
        return self._keyring.service

    def load(self) -> None:
        """Take up what the directory holds, make what is missing. Blocks for some milliseconds."""
        certdir.load(self._directory, self._keyring)
        if self._keyring.step(_now()):
            self._save()
        self._take()

    def current(self) -> Pair:
        """The pair to show now."""
        assert self._pair is not None, "load comes first"
        return self._pair

    def bundle(self) -> tuple[x509.Certificate, ...]:
        """The CAs that those who verify us have to trust, before and after a change."""
        return self._keyring.bundle()

    def trust(self, bundle: Sequence[x509.Certificate]) -> None:
        """Whoever verifies us knows these CAs now."""
        self._keyring.trust(bundle, _now())

    async def run(self) -> None:
        """Renew what is due until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S * random.uniform(0.9, 1.1))
            before = self.bundle()
            if not self._keyring.step(_now()):
                continue
            self._take()
            if self.bundle() != before:
                self.changed.set()
            await asyncio.to_thread(self._save)

    def _take(self) -> None:
        serving, issuer = self._keyring.serving, self._keyring.issuer()
        assert serving is not None
        assert issuer is not None
        if not self._published:
            self.trust(self.bundle())
        self._pair = make_pair(
            [serving.certificate, issuer.certificate], serving.key, ask_client=True, choose=self.choose
        )
        until = serving.certificate.not_valid_after_utc
        self._metrics.certificate_until("serving", until.timestamp())
        self._metrics.certificate_until("ca", issuer.certificate.not_valid_after_utc.timestamp())
        host = self._keyring.service.host
        log.info("a certificate for %s is shown until %s, of our own CA", host, until.isoformat(timespec="seconds"))

    def _save(self) -> None:
        try:
            certdir.save(self._directory, self._keyring)
        except OSError as error:
            complaint = error.strerror or str(error)
            if complaint != self._complaint:
                self._complaint = complaint
                log.warning(
                    "--cert-dir %s cannot be written to (%s): CA and certificate are kept in memory and made anew by "
                    "the next start",
                    self._directory,
                    complaint,
                )
        else:
            self._complaint = ""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
