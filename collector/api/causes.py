"""Why a pod or a node is not shown: every cause there is, in words, with what would change it. Data only."""

from collections.abc import Mapping
from typing import NamedTuple

SHOWN = "shown"


class Cause(NamedTuple):
    """One row. `{...}` in the texts are filled from what is known of the case."""

    words: str
    remedy: str


CAUSES: Mapping[str, Cause] = {
    SHOWN: Cause("It is shown.", ""),
    # What the API server says.
    "not-listed-yet": Cause(
        "The collector has not read the {what} of the cluster yet{trouble}.",
        "Wait for the first list; if it does not come, see the log for what the API server says.",
    ),
    "no-such-pod": Cause(
        "The API server knows no such pod{trouble}.", "Look at the spelling, and at kubectl get pod -n {namespace}."
    ),
    "no-such-node": Cause("The API server knows no such node{trouble}.", "Look at kubectl get nodes."),
    "not-scheduled": Cause("No node has been chosen for it.", "See the events of kubectl describe pod."),
    "finished": Cause("Its phase is {phase}: nothing of it runs any more.", "Nothing: what has ended uses nothing."),
    "not-started": Cause(
        "Its phase is {phase}: no container of it has started.",
        "See the events of kubectl describe pod: images, volumes, init containers.",
    ),
    "nothing-runs": Cause(
        "Its containers wait, or have ended.", "See kubectl describe pod, and kubectl logs --previous."
    ),
    "its-node-is-gone": Cause(
        "It is bound to node {node}, which is no more.", "Delete the pod; its owner makes another."
    ),
    # What keeps its node from being asked, or from answering.
    "node-not-ready": Cause("Node {node} is not asked: it is not ready.", "See kubectl describe node {node}."),
    "node-virtual": Cause(
        "Node {node} is not asked: it is virtual, and its Node object states no kubelet.",
        "Let its provider set status.daemonEndpoints.kubeletEndpoint.Port, if it serves statistics.",
    ),
    "node-without-address": Cause(
        "Node {node} is not asked: none of its addresses can be dialled.",
        "See status.addresses of the node, and --kubelet-preferred-address-types.",
    ),
    "node-not-asked-yet": Cause("Node {node} has not been asked yet.", "Wait for the next round."),
    "kubelet-refused": Cause("{trouble}", "Is the kubelet running, and does it listen on that port (kubeletPort)?"),
    "kubelet-unreachable": Cause("{trouble}", "Look at routes, network policies and firewalls between the two."),
    "kubelet-timeout": Cause("{trouble}", "Look at the load of the node; --node-timeout gives kubelets more time."),
    "kubelet-late": Cause("{trouble}", "--scrape-timeout gives all nodes together more time."),
    "kubelet-tls": Cause(
        "{trouble}",
        "Give the CA of the kubelets with --kubelet-ca-file, let kubelets have certificates of the cluster "
        "(serverTLSBootstrap), or choose --kubelet-identity=pin.",
    ),
    "kubelet-pin": Cause("{trouble}", "Where the kubelet's key was renewed, forget the old one: --kubelet-repin."),
    "kubelet-unauthorized": Cause(
        "{trouble}",
        "The kubelet must accept the cluster's tokens: authentication.webhook.enabled in its configuration.",
    ),
    "kubelet-forbidden": Cause(
        "{trouble}", "Grant get on nodes/metrics and nodes/stats to the collector's service account."
    ),
    "kubelet-not_found": Cause("{trouble}", "Choose another source: docs/sources.md says which kubelet serves what."),
    "kubelet-too_large": Cause("{trouble}", "Raise --max-answer-bytes."),
    "kubelet-decode": Cause("{trouble}", "What the kubelet says cannot be read: report it with its version."),
    "kubelet-other": Cause("{trouble}", "See the log of the collector, and that of the kubelet."),
    # What the samples say.
    "no-round-yet": Cause("The collector has not ended its first round.", "Wait for --{cadence}."),
    "not-kept": Cause("The collector keeps no batch.", "Start it without --disable-metric-sink."),
    "not-reported": Cause(
        "The kubelet of node {node} answers, and says nothing of {subject}.",
        "It is in the kubelet's next housekeeping, seconds away; if not, look at the container runtime's log.",
    ),
    "one-sample": Cause(
        "There is one sample of {subject}: usage of CPU is between two.",
        "Wait for the next sample, at most --{cadence} and the kubelet's housekeeping away.",
    ),
    "no-memory": Cause(
        "The kubelet of node {node} gives no memory of {subject}.",
        "Look at the container runtime's log on the node: its cgroup cannot be read.",
    ),
    "too-old": Cause(
        "The last sample of {subject} is too old to be shown.",
        "See why node {node} gives no newer one: the kubelet's log.",
    ),
}
"""Name -> cause."""

LEFT_OUT: Mapping[str, str] = {
    "new": "node-not-asked-yet",
    "not_ready": "node-not-ready",
    "virtual": "node-virtual",
    "no_address": "node-without-address",
}
"""State of a node's kubelet -> cause."""
