"""What is accepted of a kubelet over TLS, and what is shown to it."""

import ssl
from collections.abc import Sequence
from typing import Literal

from collector.errors import StartError

Verify = Literal["verify", "insecure"]
"""`verify` accepts a certificate that a given CA signed for the asked name; `insecure` accepts anything."""


def client_context(
    verify: Verify, ca_files: Sequence[str], certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """What is accepted of a kubelet and shown to it. Reads the files. Raises StartError.

    Trust is what Go's verifier trusts, since that is what cluster certificates are made for: any given certificate is a
    root, self-signed or not. (From Python 3.13 on create_default_context would refuse CAs without a key identifier.)
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if verify == "insecure":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if not ca_files:
            raise StartError(
                "kubelets are asked over https, but no CA is known to check their certificates with: "
                "name its file with --kubelet-ca-file, or accept any certificate with --kubelet-insecure-tls"
            )
        for path in ca_files:
            _load_ca(context, path)
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise StartError(
                f"client certificate {certificate} (key {key or certificate}) for the kubelets cannot be used: {error}"
            ) from error
    return context


def _load_ca(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise StartError(
            f"CA file {path} for kubelet certificates cannot be used: {error}; it must hold PEM certificates"
        ) from error
