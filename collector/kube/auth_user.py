"""A user as Kubernetes sees one: name, groups, and what else an authenticator knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

Headers: TypeAlias = Mapping[str, Sequence[str]]
"""Name in lower case -> its values in order."""

AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"
ANONYMOUS_NAME: Final = "system:anonymous"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """key -> values, sorted by key"""

    def authenticated(self) -> "User":
        """The same user in the group of all who have shown who they are, which the front proxy may leave to us."""
        if self.name == ANONYMOUS_NAME or {AUTHENTICATED, UNAUTHENTICATED} & set(self.groups):
            return self
        return replace(self, groups=(*self.groups, AUTHENTICATED))

    def review(self) -> dict[str, Any]:
        """The user's part of a SubjectAccessReview's spec."""
        spec: dict[str, Any] = {"user": self.name, "groups": self.groups, "uid": self.uid, "extra": dict(self.extra)}
        return {name: value for name, value in spec.items() if value}


ANONYMOUS: Final = User(ANONYMOUS_NAME, (UNAUTHENTICATED,))
"""Who asks when no credentials are given."""
