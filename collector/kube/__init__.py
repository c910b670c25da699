"""Kubernetes state: nodes, pods and namespaces, listed and watched; see `listers` for what others use."""
