"""What a request wants, in the words of access rules: read from method and path the way API servers do.

`/apis/GROUP/VERSION/...` with at least one segment more is about a resource; every other path is about itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_VERBS: Final = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_A_COLLECTION: Final = {"get": "list", "delete": "deletecollection"}
_SPECIAL_VERBS: Final = frozenset({"proxy", "watch"})
_NAMESPACE_PARTS: Final = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Attributes:
    """One request; `path` is given when it is about no resource, the other fields when it is about one."""

    verb: str
    path: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    def review(self) -> dict[str, Any]:
        """The request's part of a SubjectAccessReview's spec."""
        if self.path:
            return {"nonResourceAttributes": {"path": self.path, "verb": self.verb}}
        named = ("verb", "group", "version", "namespace", "resource", "subresource", "name")
        return {"resourceAttributes": {name: value for name in named if (value := getattr(self, name))}}

    def denial(self, user: str, reason: str) -> str:
        """The refusal in the API server's words."""
        because = f": {reason}" if reason else ""
        if self.path:
            return f'forbidden: User "{user}" cannot {self.verb} path "{self.path}"{because}'
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f' "{self.name}"' if self.name else ""
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return (
            f'{kind}{named} is forbidden: User "{user}" cannot {self.verb} resource "{what}" '
            f'in API group "{self.group}" {where}{because}'
        )

    def details(self) -> dict[str, str]:
        """`details` of the Status that refuses."""
        if self.path:
            return {}
        stated = {"name": self.name, "group": self.group, "kind": self.resource}
        return {name: value for name, value in stated.items() if value}


def read_attributes(method: str, path: str, query: Mapping[str, Sequence[str]]) -> Attributes:
    """The attributes of a request for a decoded `path`; the rules are those of Kubernetes' RequestInfo."""
    parts = path.strip("/").split("/")
    prefix = parts[0]
    if prefix not in {"api", "apis"} or len(parts) < (4 if prefix == "apis" else 3):
        return Attributes(method.lower(), path=path)
    group, version, *rest = parts[1:] if prefix == "apis" else ("", *parts[1:])
    verb = _VERBS.get(method, "")
    if rest[0] in _SPECIAL_VERBS:
        if len(rest) < 2:
            return Attributes(method.lower(), path=path)
        verb, *rest = rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
            rest = rest[2:]
    resource, name, subresource = (*rest[:3], "", "")[:3]
    if not name and verb in _OF_A_COLLECTION:
        watched = verb == "get" and _switched_on(query.get("watch", ()))
        verb = "watch" if watched else _OF_A_COLLECTION[verb]
        if verb in {"list", "watch"}:
            name = _selected_name(query.get("fieldSelector", ()))
    return Attributes(verb, "", group, version, namespace, resource, subresource, name)


def _switched_on(values: Sequence[str]) -> bool:
    """A boolean of the query as Kubernetes reads it: everything but `false` and `0` is true."""
    return bool(values) and values[0].lower() not in {"false", "0"}


def _selected_name(selectors: Sequence[str]) -> str:
    """The one name that a field selector asks for, if any: a role for that object then suffices."""
    for term in selectors[0].split(",") if selectors else ():
        key, _, value = term.replace("==", "=").partition("=")
        if key == "metadata.name" and "/" not in value:
            return value
    return ""
