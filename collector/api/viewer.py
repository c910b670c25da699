"""Viewer: one caller of the second server, and what of Heapster's API they may see.

Whether something exists is never asked before whether it may be seen, so that a refusal tells nothing about it.
Verdicts are the authorizer's, which believes them for as long as its flags say.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from collector.api import jsontext
from collector.api.manner import Manner
from collector.api.rights import ANY_NODE, WHOLE, Right, pods_in
from collector.api.route import Answer, Request, RequestError, Sight
from collector.api.status import StatusError
from collector.kube.auth import AccessFault, Authorizer
from collector.kube.auth_attributes import Attributes
from collector.kube.auth_user import ANONYMOUS_NAME, User

MOST_NAMESPACES: Final = 500
"""A list is narrowed by asking about each namespace; where there are more, who may not see all asks one by one."""

AT_ONCE: Final = 16
"""Questions of one list under way."""

NO_VERDICT: Final = "Internal error occurred: the API server gave no verdict on this request; the log says why"
"""Who was not let in is told no more: not which API server, not what its rules are."""


class Viewer:
    """What one user may see; made for one request."""

    def __init__(self, user: User, authorizer: Authorizer) -> None:
        self._user = user
        self._authorizer = authorizer

    async def admit(self, right: Right, namespace: str) -> None:
        """Let a request pass that needs this right. Raises StatusError: 403, or 500 without a verdict."""
        if right is Right.SOME:
            return  # the handler narrows its answer, or refuses
        asked = right.attributes(namespace)
        if not await self._may(asked) and not (asked != WHOLE and await self._may(WHOLE)):
            raise self._refusal(asked)

    async def sight(self, namespaces: Iterable[str], *, nodes: bool = False) -> Sight:
        """What may be seen of a list about these namespaces, and about `nodes`.

        Raises StatusError when that is nothing, when there are too many namespaces, and without a verdict.
        """
        if await self._may(WHOLE):
            return Sight(everything=True, nodes=True)
        nodes = nodes and await self._may(ANY_NODE)
        if await self._may(pods_in("")):
            return Sight(nodes=nodes, namespaces=None)
        seen = await self._among(sorted(set(namespaces)))
        if not seen and not nodes:
            raise self._refusal(pods_in(""))
        return Sight(nodes=nodes, namespaces=seen)

    async def _among(self, namespaces: list[str]) -> frozenset[str]:
        # Nobody in particular is not worth a question for each namespace.
        if self._user.name == ANONYMOUS_NAME:
            return frozenset()
        if len(namespaces) > MOST_NAMESPACES:
            raise StatusError(
                f'forbidden: User "{self._user.name}" may not see all namespaces, and there are too many to find out '
                f"which ones (over {MOST_NAMESPACES}): ask by namespace, /api/v1/model/namespaces/NAME/...",
                403,
                "Forbidden",
            )
        turns = asyncio.Semaphore(AT_ONCE)

        async def asked(namespace: str) -> bool:
            async with turns:
                return await self._may(pods_in(namespace))

        # All to the end: a task of a list given up would go on asking behind our back.
        verdicts = await asyncio.gather(*map(asked, namespaces), return_exceptions=True)
        for verdict in verdicts:
            if isinstance(verdict, BaseException):
                raise verdict
        return frozenset(name for name, verdict in zip(namespaces, verdicts, strict=True) if verdict is True)

    async def _may(self, attributes: Attributes) -> bool:
        try:
            return (await self._authorizer.authorize(self._user, attributes)).allowed
        except AccessFault:
            raise StatusError(NO_VERDICT, 500, "InternalError") from None

    def _refusal(self, attributes: Attributes) -> StatusError:
        details = attributes.details()
        return StatusError(attributes.denial(self._user.name, ""), 403, "Forbidden", details or None)


class ViewersManner(Manner):
    """Heapster's, but what a caller may not see is refused as this server refuses everything: in a `Status`."""

    def refused(self, request: Request, error: RequestError) -> Answer:
        """A handler, or what stands before it, has refused the request."""
        return status_answer(error) if isinstance(error, StatusError) else super().refused(request, error)


def status_answer(error: StatusError) -> Answer:
    """A `Status` on one line."""
    return Answer(f"{jsontext.compact(error.document())}\n".encode(), status=error.status)
