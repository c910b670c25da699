"""How stores name entities: the labels that hold the fields of an EntityKey, and the fields that name each kind."""

from collections.abc import Mapping

from collector.core.metrics import Kind

LABELS: Mapping[str, str] = {
    "namespace": "namespace_name",
    "pod": "pod_name",
    "container": "container_name",
    "node": "nodename",
    "pod_id": "pod_id",
}
"""Field of EntityKey -> the label, which is a column of the embedded history and a tag of InfluxDB."""

NAMED_BY: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLUSTER: (),
    Kind.NODE: ("node",),
    Kind.NAMESPACE: ("namespace",),
    Kind.POD: ("namespace", "pod"),
    Kind.POD_CONTAINER: ("namespace", "pod", "container"),
    Kind.SYS_CONTAINER: ("node", "container"),
}
"""The fields that name an entity of a kind, the outermost first."""
