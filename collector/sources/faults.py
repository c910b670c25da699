"""What went wrong between the collector and one kubelet, in words that name the way out.

Every function here builds a FetchError and raises nothing. What a kubelet said is shown short, on one line and without
control characters: it ends up in logs and on terminals.
"""

import errno
import re
import ssl
from typing import Final

from yarl import URL

from collector.errors import FetchError, FetchReason
from collector.sources.head import MalformedAnswerError
from collector.sources.link import OWN_LIMITS, NoRouteError, NotConnectedError
from collector.sources.pins import PinChangedError
from collector.sources.target import KubeletOptions, KubeletTarget
from collector.sources.tls import OtherNameError

EXCERPT_BYTES: Final = 4096
"""How much of a refusal's body is worth reading."""
_SHOWN: Final = 200

_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)

# X509_V_ERR_... of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_SIGNER: Final = frozenset((2, 18, 19, 20, 21))
_OTHER_NAME: Final = frozenset((62, 64))

_NOT_SERVED: Final = frozenset((404, 405, 410, 501))
"""The path is not there, or not for this method."""


def _fault(target: KubeletTarget, url: URL, text: str, reason: FetchReason) -> FetchError:
    return FetchError(f"{target}: {url} {text}", reason=reason)


def excerpt(body: bytes) -> str:
    """What a person can make of the beginning of a body: the title of a page, else the text, on one line."""
    text = body[:EXCERPT_BYTES].decode(errors="replace")
    if is_page(body):
        title = _TITLE.search(text)
        return f"an HTML page titled {_line(title[1])!r}" if title else "an HTML page"
    return _line(text) or "nothing"


def _line(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"


def is_page(body: bytes | memoryview) -> bool:
    """Whether this is HTML (or XML): neither JSON nor the exposition format begins with `<`."""
    return bytes(body[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def timed_out(target: KubeletTarget, url: URL, limit_s: float) -> FetchError:
    """No whole answer within the limit per node."""
    return _fault(target, url, f"gave no whole answer within {limit_s:g} s (--node-timeout)", "timeout")


def too_large(target: KubeletTarget, url: URL, limit: int, announced: int | None = None) -> FetchError:
    """More than the cap; `announced` is what its Content-Length said, if that gave it away."""
    size = "more" if announced is None else f"{announced} bytes, more"
    return _fault(target, url, f"answers {size} than the {limit} bytes allowed (--max-answer-bytes)", "too_large")


def no_document(target: KubeletTarget, url: URL, body: bytes) -> FetchError:
    """Status 200 and an empty body, or a page for people."""
    if not body:
        return _fault(
            target, url, "answers nothing: status 200 with an empty body, or one without a length", "protocol"
        )
    return _fault(
        target,
        url,
        f"answers {excerpt(body)}: is something else than a kubelet at kubeletPort {target.port}?",
        "protocol",
    )


def refused_status(
    target: KubeletTarget,
    url: URL,
    status: int,
    body: bytes,
    *,
    location: str | None,
    token_sent: bool,
    verb: str = "get",
) -> FetchError:
    """Any status but 200; `body` is its beginning, `location` the header of that name.

    `verb` is what Kubernetes calls the request.
    """
    said = f"answers status {status}: {excerpt(body)}"
    if 300 <= status < 400:
        where = f" to {_line(location)}" if location else ""
        return _fault(
            target, url, f"redirects{where} (status {status}); redirects of kubelets are not followed", "redirect"
        )
    if status == 401:
        return _fault(target, url, f"{said}; {_unauthorized(url, token_sent=token_sent)}", "unauthorized")
    if status == 403:
        return _fault(
            target,
            url,
            f'{said}; the collector\'s ClusterRole must allow verb "{verb}" on resource "{_resource(url)}"',
            "forbidden",
        )
    if status in _NOT_SERVED:
        return _fault(target, url, f"{said}; this kubelet does not serve {url.path}", "not_found")
    if status == 400 and url.scheme == "http":  # what Go's server says in plain text on a TLS port
        return _fault(target, url, f"{said}; if this port speaks TLS, set kubeletHttps=true", "status")
    return _fault(target, url, said, "status")


def _unauthorized(url: URL, *, token_sent: bool) -> str:
    if url.scheme == "http":
        return "tokens are never sent over plain http: set kubeletHttps=true and the secure kubeletPort"
    if not token_sent:
        return "no token was sent, since none is configured"
    return (
        "the token is not accepted: is it of this cluster and not expired, and does the kubelet accept tokens "
        "(authentication.webhook.enabled)?"
    )


def _resource(url: URL) -> str:
    """What the kubelet has authorised for a path (Kubernetes: kubelet authentication and authorisation)."""
    if url.path.startswith("/stats"):
        return "nodes/stats"
    return "nodes/metrics" if url.path.startswith("/metrics") else "nodes/proxy"


def broken(target: KubeletTarget, url: URL, error: Exception, options: KubeletOptions) -> FetchError:
    """No answer, or one that broke off."""
    cause = error.cause if isinstance(error, NotConnectedError) else error
    if isinstance(cause, PinChangedError):
        return _fault(target, url, _other_key(target, cause), "pin")
    if isinstance(cause, OtherNameError):
        return _fault(target, url, _other_name(target, cause), "tls")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _fault(target, url, _certificate(target, cause, options), "tls")
    if isinstance(cause, ssl.SSLError):
        what = _line(getattr(cause, "reason", None) or str(cause))
        return _fault(
            target,
            url,
            f"breaks TLS off ({what}): does port {target.port} speak plain http (kubeletHttps=false), or does the "
            "kubelet refuse the client certificate?",
            "tls",
        )
    if isinstance(error, NotConnectedError):
        return _no_connection(target, url, error.cause)
    if isinstance(error, MalformedAnswerError):
        return _fault(target, url, f"does not speak HTTP: {_line(str(error))}", "protocol")
    text = _line(str(error)) or type(error).__name__
    return _fault(target, url, f"broke the answer off: {text}", "protocol")


def no_route(target: KubeletTarget, url: URL, error: NoRouteError) -> FetchError:
    """No connection at any of several addresses."""
    reasons: set[FetchReason] = set()
    tried = []
    for address, fault in error.faults.items():
        refused = fault is not None and fault.errno == errno.ECONNREFUSED
        reasons.add("timeout" if fault is None else "refused" if refused else "unreachable")
        why = "no connection in its part of --node-timeout" if fault is None else fault.strerror or str(fault)
        tried.append(f"{address} ({_line(why)})")
    text = (
        f"takes no connections, nor does any other address of the node: {', '.join(tried)}; is the kubelet up, is "
        f"kubeletPort {target.port} its port, and are these the addresses to ask (--kubelet-preferred-address-types)?"
    )
    return _fault(target, url, text, reasons.pop() if len(reasons) == 1 else "unreachable")


def _other_name(target: KubeletTarget, error: OtherNameError) -> str:
    """The certificate is neither for the node nor for the address."""
    return (
        f"shows a certificate that is neither for {target.node} nor for {target.address}, but for "
        f"{_line(', '.join(error.names)) or 'nobody'}: does this address lead to that node? If so, have its kubelet "
        "ask for a new certificate, or accept the keys seen first with --kubelet-identity=pin"
    )


def _other_key(target: KubeletTarget, error: PinChangedError) -> str:
    """The node is pinned to another key."""
    turn = (
        "start the collector anew"
        if error.path is None
        else f"take the line of {target.node} out of {error.path}, or start with --kubelet-repin={target.node}"
    )
    return (
        f"shows another key than at first (sha256:{error.pin.fingerprint} since {error.pin.since}, now "
        f"sha256:{error.fingerprint}), so no token was sent: if the kubelet has made itself a new certificate, {turn}; "
        "if not, somebody is in between"
    )


def _no_connection(target: KubeletTarget, url: URL, error: OSError) -> FetchError:
    reason = _line(error.strerror or str(error))
    if error.errno == errno.ECONNREFUSED:
        return _fault(
            target,
            url,
            f"refuses connections: is the kubelet up, and is kubeletPort {target.port} its port?",
            "refused",
        )
    if error.errno in OWN_LIMITS:
        return _fault(
            target,
            url,
            f"was not asked, this process is at a limit ({reason}): raise its open files (ulimit -n) or lower "
            "--scrape-concurrency",
            "internal",
        )
    if isinstance(error, ConnectionError):
        return _fault(target, url, f"broke the connection off while it was made: {reason}", "protocol")
    return _fault(target, url, f"cannot be reached: {reason}", "unreachable")


def _certificate(target: KubeletTarget, error: ssl.SSLCertVerificationError, options: KubeletOptions) -> str:
    why = _line(error.verify_message)
    if error.verify_code in _UNKNOWN_SIGNER:
        return (
            f"shows a certificate that none of the CAs in {', '.join(options.ca_files) or 'no file'} signed ({why}): "
            "name the CA with --kubelet-ca-file, or accept any certificate with --kubelet-insecure-tls"
        )
    if error.verify_code in _OTHER_NAME:
        if options.verify_name == "node":
            return f"shows a certificate that is not for {target.node} ({why}): set --kubelet-verify-name=address"
        return f"shows a certificate that is not for {target.address} ({why}): set --kubelet-verify-name=node"
    if error.verify_code == _EXPIRED:
        return f"shows a certificate that has expired ({why}): renew it on the node, or set the clock right"
    if error.verify_code == _NOT_YET_VALID:
        return f"shows a certificate that is not valid yet ({why}): is the clock right, there and here?"
    return f"shows a certificate that is not accepted ({why})"
