"""What can be wrong, in words, and what to do about it. Data only.

What is wrong with kubelets stands in `collector.api.causes`, which also answers why a pod or a node is missing; here
are the cases that only somebody who looks closer can tell apart.
"""

from collections.abc import Mapping

from collector.api.causes import CAUSES, Cause

REMEDIES: Mapping[str, Cause] = {
    # The API server.
    "api-configuration": Cause(
        "{trouble}",
        "Correct --source: in a pod inClusterConfig=true and a mounted service account (automountServiceAccountToken), "
        "elsewhere inClusterConfig=false&auth=KUBECONFIG.",
    ),
    "api-refused": Cause(
        "{url} takes no connections: {trouble}.", "Start the API server, or correct its address in {origin}."
    ),
    "api-certificate": Cause(
        "The certificate of {url} is not accepted: {trouble}.",
        "Put the CA that signed it in the place of {ca_origin}.",
    ),
    "api-timeout": Cause(
        "{url} does not answer within {limit}.",
        "Let the collector reach it: routes, network policies and firewalls between the two.",
    ),
    "api-broken": Cause(
        "{url} breaks the connection off: {trouble}.", "Correct scheme and port of the API server in {origin}."
    ),
    "api-other": Cause(
        "{url} answers status {status}, and no version of Kubernetes.",
        "Correct the address in {origin}: something else than an API server is there.",
    ),
    # Who we are, and what we may.
    "identity-refused": Cause(
        "The credentials of {origin} are not accepted (401).",
        "Renew them: put a token or client certificate of this cluster there that is not expired.",
    ),
    "identity-refused-pod": Cause(
        "The token of this pod's service account is not accepted (401).",
        "Delete the pod, so that it gets a new one; see that its service account is still there.",
    ),
    "identity-anonymous": Cause(
        "The API server takes us for {user}.", "Give credentials: {origin} has none that it knows."
    ),
    "identity-unknown": Cause(
        "The API server does not say who we are: {trouble}.", "Give this user the ClusterRole system:basic-user."
    ),
    "right-missing": Cause("{user} may not {what}.", "Add this rule to {role} of {user}, as in {manifest}: {rule}"),
    "right-delegator": Cause(
        "{user} may not {what}.",
        "kubectl create clusterrolebinding heapster-auth-delegator --clusterrole=system:auth-delegator {binding}, "
        "as in {manifest}",
    ),
    "right-reader": Cause(
        "{user} may not {what}.",
        "kubectl -n kube-system create rolebinding heapster-auth-reader "
        "--role=extension-apiserver-authentication-reader {binding}, as in {manifest}",
    ),
    "reviews-refused": Cause(
        "The API server does not say what we may: {trouble}.", "Give this user the ClusterRole system:basic-user."
    ),
    # Nodes and kubelets: see also CAUSES.
    "nodes-unreadable": Cause("{trouble}", "See what the API server says; it must list nodes."),
    "no-nodes": Cause("The cluster has no nodes.", "See that {origin} names the cluster that is meant."),
    "kubelet-client": Cause("{trouble}", "Name readable PEM files with the flags that are named here."),
    "kubelet-no-connection": Cause(
        "{trouble}; not even a connection is made.",
        "Look at routes, network policies and firewalls between the two, and at kubeletPort.",
    ),
    "kubelet-certificate-name": Cause(
        "{trouble}",
        "Have the kubelet ask for a new certificate, dial another address (--kubelet-preferred-address-types), or set "
        "--kubelet-verify-name=any.",
    ),
    "kubelet-certificate-date": Cause(
        "{trouble}",
        "Renew the certificate on the node (kubectl get csr; rotateCertificates, serverTLSBootstrap), or set the "
        "clock right.",
    ),
    "kubelet-plain": Cause(
        "{trouble}",
        "Let kubeletHttps of --source and kubeletPort agree: 10250 speaks TLS (kubeletHttps=true), 10255 does not.",
    ),
    "kubelet-unverified": Cause(
        "The kubelets' certificates are not verified: who stands in between reads the token.",
        "Leave out --kubelet-insecure-tls and insecure=true; name the CA with --kubelet-ca-file, or choose "
        "--kubelet-identity=pin.",
    ),
    "kubelet-http": Cause(
        "Kubelets are asked over plain http: nobody is identified, no token is sent.",
        "Set kubeletHttps=true in --source.",
    ),
    "kubelet-http-refuses": Cause(
        "{trouble}", "Set kubeletHttps=true in --source, and kubeletPort to the secure port (10250)."
    ),
    "open-files": Cause(
        "This process may open {limit} files, and {nodes} nodes take {needed}.",
        "Raise the limit of open files to {needed}: ulimit -Hn, LimitNOFILE= of systemd, or the container runtime's.",
    ),
    # Clocks.
    "clock": Cause(
        "The clock of {subject} is {skew} {direction}.", "Set the clock of {subject} right: chronyc makestep there."
    ),
    # Sinks and the past.
    "sink-malformed": Cause("{trouble}", "Correct {flag}."),
    "sink-unreachable": Cause("{trouble}", "Start the server, or correct the address in {flag}."),
    "sink-unauthorized": Cause("{trouble}", "Correct user= and pw= in {flag}."),
    "sink-forbidden": Cause("{trouble}", 'On that server: GRANT WRITE ON "{database}" TO "{user}"'),
    "sink-no-database": Cause(
        "{trouble}",
        'On that server, as an administrator: CREATE DATABASE "{database}"; then GRANT WRITE ON "{database}" '
        'TO "{user}"',
    ),
    "sink-unauthorized-v2": Cause("{trouble}", "Correct token= or token_file= in {flag}."),
    "sink-forbidden-v2": Cause("{trouble}", "Give the token the right to write to the bucket of {flag}."),
    "sink-no-bucket": Cause("{trouble}", "Make the bucket on that server, or correct org= and bucket= in {flag}."),
    "sink-other-api": Cause(
        "{trouble}", "Choose the API that this server has in {flag}: InfluxDB before 1.8 api=v1, from 2 on api=v2."
    ),
    "sink-refused": Cause("{trouble}", "See the log of that server; if it is not InfluxDB, correct {flag}."),
    "history-unusable": Cause("{trouble}", "Correct --historical-source, or leave it out."),
    "history-files": Cause(
        "{trouble}", "See what is wrong with the files, or move the directory away: a new one is made."
    ),
    "history-unauthorized": Cause(
        "{trouble}", "Correct user= and pw= in --historical-source and in the --sink like it."
    ),
    "history-forbidden": Cause("{trouble}", 'On that server: GRANT ALL ON "{database}" TO "{user}"'),
    "history-unreachable": Cause(
        "{trouble}", "Start that server, or correct the address in --historical-source and in the --sink like it."
    ),
    # APIServices.
    "apiservice-absent": Cause(
        "There is no APIService {subject}: nobody is sent to us.",
        "kubectl apply -k manifests/overlays/metrics-api, or an APIService {subject} of your own whose spec.service is "
        "{service} (--service-namespace, --service-name).",
    ),
    "apiservice-elsewhere": Cause(
        "It leads to {other}, not to {service}.",
        "Take {other} out of service and apply our APIService {subject}, or leave --api-server out.",
    ),
    "apiservice-ServiceNotFound": Cause("{trouble}", "Create the Service {service}."),
    "apiservice-ServicePortError": Cause(
        "{trouble}", "Let spec.service.port of the APIService be a port of the Service {service}."
    ),
    "apiservice-MissingEndpoints": Cause(
        "{trouble}",
        "Let the selector of Service {service} match a ready pod: kubectl -n {namespace} get endpointslices.",
    ),
    "apiservice-EndpointsNotFound": Cause(
        "{trouble}",
        "Let the selector of Service {service} match a ready pod: kubectl -n {namespace} get endpointslices.",
    ),
    "apiservice-FailedDiscoveryCheck": Cause(
        "{trouble}",
        "Let the API server reach port {port} of our pods (network policies, firewalls of the control plane), and "
        "verify them: the caBundle must hold our CA.",
    ),
    "apiservice-other": Cause("{trouble}", "See kubectl describe apiservice {subject}."),
    "apiservice-silent": Cause(
        "The API server has not said yet whether it is available.", "Wait; is its aggregation layer on?"
    ),
    "apiservice-insecure": Cause(
        "It has insecureSkipTLSVerify: the API server sends its users to whoever answers there.",
        "Take spec.insecureSkipTLSVerify out of it, and let --patch-apiservices write the caBundle.",
    ),
    "apiservice-unverified": Cause(
        "It has no caBundle, and --patch-apiservices=false keeps us from writing one.",
        "Put the CA of our certificate into spec.caBundle of APIService {subject}.",
    ),
    # This machine.
    "certificate-unusable": Cause("{trouble}", "Correct the flag that is named here."),
    "place-missing": Cause(
        "There is no directory that outlives the process: {lost}.",
        "Mount a volume at /var/lib/heapster, or set {flag}.",
    ),
    "place-no-directory": Cause("{path} is no directory.", "Move {path} away, or choose another place with {flag}."),
    "place-unwritable": Cause(
        "{path} cannot be written to: {trouble}.",
        "Let the user of the collector ({uid}) write to {path} (fsGroup, readOnly, owner), or set {flag}.",
    ),
    "place-full": Cause(
        "{path} has {free} left.", "Make room on the volume of {path}, or choose another place with {flag}."
    ),
    "place-small": Cause(
        "{path} has {free} left, and up to {wanted} are to go there.",
        "Make the volume of {path} larger by {more}, or lower {cap}.",
    ),
    "internal": Cause("The check itself failed: {trouble}", "Report it, with the flags and this line."),
}
"""Name -> case."""


OF_KUBELETS = ("node-not-ready", "node-without-address", *(name for name in CAUSES if name.startswith("kubelet-")))
"""Rows of CAUSES that are used here, too."""


def words_of(cause: str, known: Mapping[str, object]) -> tuple[str, str]:
    """Words and remedy of a case, filled with what is known."""
    found = REMEDIES.get(cause) or CAUSES[cause]
    return found.words.format_map(known), found.remedy.format_map(known)
