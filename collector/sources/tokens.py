"""The bearer token shown to kubelets: the API client's own, asked for once a scrape instead of once a node."""

import logging

from collector.errors import KubernetesError
from collector.kube.connection import ApiConnection

log = logging.getLogger(__name__)

_SCHEME = "Bearer "


class ClusterToken:
    """The token of this moment. `update` before each scrape; `renew` when a kubelet refused it."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection
        self._token: str | None = None

    def current(self) -> str | None:
        """The token last read; None when the credentials are of another kind."""
        return self._token

    async def update(self) -> None:
        """Read the token again where it is time to; keeps the old one when that fails."""
        try:
            header = (await self._connection.authorization()).get("Authorization", "")
        except KubernetesError as error:
            log.warning("the token for the kubelets could not be renewed: %s", error)
            return
        self._token = header.removeprefix(_SCHEME) if header.startswith(_SCHEME) else None

    async def renew(self) -> None:
        """Have the credentials read anew at their source, then the token."""
        try:
            await self._connection.refresh()
        except KubernetesError as error:
            log.warning("the credentials could not be read again: %s", error)
        await self.update()
