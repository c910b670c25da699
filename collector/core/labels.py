"""The labels that entities carry whatever their Kubernetes labels are (behaviour reference, section 6.1)."""

BUILT_IN = frozenset(
    {
        *("type", "nodename", "hostname", "host_id", "namespace_name", "namespace_id", "pod_name", "pod_id"),
        *("container_name", "container_base_image", "labels", "schedulable", "resource_id", "cluster_name"),
    }
)
"""A Kubernetes label stored under a name of its own must not replace one of these."""
