"""How the main port is served and to whom, by its flags (behaviour reference, 1.8).

flags                          listener                          /healthz*   all else
none                           HTTP                              open        open
pair                           HTTPS                             open        open
pair, client CA                HTTPS, asks for a certificate     open        any that the CA signed (F12)
pair, client CA, users         the same                          open        of these, common names listed
pair, users                    the same                          open        open: there is nobody to tell users by
"""

from collector.api.gate import CertificateGate, allowed_users
from collector.api.tls import PairFiles, ServingCertificates, ca_files
from collector.options import Options
from collector.watchedfiles import NamedFile


def main_port_security(options: Options) -> tuple[ServingCertificates | None, CertificateGate | None]:
    """What to serve the main port with; nothing is read yet. The options' own checks are not repeated here."""
    if not options.tls_cert:
        return None, None
    ask_client = bool(options.tls_client_ca or options.allowed_users)
    files = NamedFile("--tls-cert", options.tls_cert), NamedFile("--tls-key", options.tls_key)
    pair = PairFiles(*files, ask_client=ask_client)
    if not options.tls_client_ca:
        return ServingCertificates(pair), None
    authorities = ca_files("--tls-client-ca", options.tls_client_ca)
    return ServingCertificates(pair), CertificateGate(authorities, allowed_users(options.allowed_users))
