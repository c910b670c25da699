"""Which right a route of Heapster's API needs on the second server, where every caller is known.

The main port knows no callers and asks for none of this. Rights are Kubernetes' own, so that whoever may read a pod's
usage with `kubectl top` may read it here, and no more:

right       held by whoever may                                          sees
EVERYTHING  get the non-resource URL /api/v1/model                       everything
NODES       get nodes.metrics.k8s.io in the cluster                      nodes and what runs on them outside of pods
NAMESPACE   get pods.metrics.k8s.io in the namespace of the path         that namespace
SOME        any of these for anything                                    a list of what they may see
"""

from enum import Enum
from typing import Final

from collector.kube.auth_attributes import Attributes

GROUP: Final = "metrics.k8s.io"
VERSION: Final = "v1beta1"

WHOLE: Final = Attributes("get", path="/api/v1/model")
ANY_NODE: Final = Attributes("get", group=GROUP, version=VERSION, resource="nodes")


def pods_in(namespace: str) -> Attributes:
    """To read the usage of pods of a namespace; of all namespaces when it is empty."""
    return Attributes("get", group=GROUP, version=VERSION, namespace=namespace, resource="pods")


class Right(Enum):
    """What a route needs; EVERYTHING holds for a route that says nothing, and gives all the others."""

    EVERYTHING = "everything"
    NODES = "nodes"
    NAMESPACE = "its namespace"
    SOME = "any of them; narrowed"

    def attributes(self, namespace: str) -> Attributes:
        """The request that an access rule must allow, besides the one that allows everything."""
        if self is Right.NODES:
            return ANY_NODE
        return pods_in(namespace) if self is Right.NAMESPACE else WHOLE
