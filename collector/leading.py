"""Of several replicas one writes: the election, as the `--leader-elect` flags ask for it."""

import socket
import uuid
from collections.abc import Callable

from collector.kube.connection import ApiConnection
from collector.kube.lease import Elector, LeaseSettings
from collector.options import SECOND, Options
from collector.secure import own_namespace


def elector_of(options: Options, connection: ApiConnection, changed: Callable[[bool], None]) -> Elector | None:
    """The candidate that stands for this process; None where it is not to stand for election."""
    if not options.leader_elect:
        return None
    settings = LeaseSettings(
        options.leader_elect_resource_namespace or own_namespace(),
        options.leader_elect_resource_name,
        f"{socket.gethostname()}_{uuid.uuid4()}",
        options.leader_elect_lease_duration / SECOND,
        options.leader_elect_renew_deadline / SECOND,
        options.leader_elect_retry_period / SECOND,
    )
    return Elector(connection, settings, changed=changed)
