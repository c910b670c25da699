"""Leader election over the simulated API server: never two leaders, and soon one again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collector.errors import KubernetesError
from collector.kube.config import connect
from collector.kube.connection import ApiConnection
from collector.kube.lease import Elector, LeaseSettings
from collector.sim import SimConfig, SimulatedCluster

QUICK = {"duration_s": 0.6, "renew_s": 0.4, "retry_s": 0.05}
KEY = ("monitoring", "heapster")


class Replica:
    """A candidate and what it was told."""

    def __init__(self, connection: ApiConnection, name: str) -> None:
        self.told: list[bool] = []
        settings = LeaseSettings("monitoring", "heapster", name, **QUICK)
        self.elector = Elector(connection, settings, changed=self.told.append)
        self._task = asyncio.create_task(self.elector.run())

    @property
    def leads(self) -> bool:
        return self.elector.leads

    async def stop(self) -> None:
        """In order: the lease is given back."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def die(self) -> None:
        """At once: nothing is given back."""
        self.elector._leads = False
        await self.stop()


@asynccontextmanager
async def server() -> AsyncIterator[tuple[SimulatedCluster, ApiConnection]]:
    async with SimulatedCluster(SimConfig(nodes=1, pods=1)) as cluster:
        connection = await connect(in_cluster=False, kubeconfig=str(cluster.kubeconfig))
        try:
            yield cluster, connection
        finally:
            await connection.close()


async def until(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_of_many_one_leads_and_another_goes_on_when_it_dies() -> None:
    async with server() as (cluster, connection):
        replicas = [Replica(connection, f"replica-{i}") for i in range(5)]
        loop = asyncio.get_running_loop()
        for left in (5, 4, 3, 2, 1):
            await until(lambda: any(replica.leads for replica in replicas))
            end = loop.time() + 0.3
            while loop.time() < end:  # renewals do not change who it is
                assert sum(replica.leads for replica in replicas) == 1
                await asyncio.sleep(0.01)
            (leader,) = (replica for replica in replicas if replica.leads)
            assert cluster.api.leases.objects[KEY]["spec"]["holderIdentity"] == leader.elector._settings.identity
            replicas.remove(leader)
            assert leader.told == [True]
            await leader.die()
            assert len(replicas) == left - 1
        assert cluster.api.leases.objects[KEY]["spec"]["leaseTransitions"] == 4


async def test_a_leader_that_stops_gives_the_lease_back() -> None:
    async with server() as (cluster, connection):
        first = Replica(connection, "first")
        await until(lambda: first.leads)
        await first.stop()
        assert first.told == [True, False]
        assert not first.leads
        assert cluster.api.leases.objects[KEY]["spec"]["holderIdentity"] == ""
        second = Replica(connection, "second")
        await until(lambda: second.leads, seconds=0.5)  # less than the lease would have lasted
        await second.stop()


async def test_a_leader_that_reaches_nobody_stops_before_another_can_begin(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with server() as (cluster, connection):
        first = Replica(connection, "first")
        await until(lambda: first.leads)
        cluster.api.refuse(True)
        second = Replica(connection, "second")
        await until(lambda: not first.leads)
        cluster.api.refuse(False)
        await until(lambda: first.leads or second.leads)
        assert first.leads != second.leads
        await until(lambda: "can be had again" in caplog.text)
        assert caplog.text.count("the lease monitoring/heapster cannot be had: API server") == 2  # once each
        await first.stop()
        await second.stop()


async def test_a_role_that_is_missing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as (cluster, connection):
        cluster.api.leases.refusing = True
        replica = Replica(connection, "first")
        await until(lambda: "cannot be had" in caplog.text)
        assert 'verb "get" on resource "leases" of API group coordination.k8s.io' in caplog.text
        assert not replica.leads
        cluster.api.leases.refusing = False
        await until(lambda: replica.leads)
        await replica.stop()


async def test_a_lease_of_others_is_waited_for_by_its_own_duration_and_taken_with_its_version() -> None:
    async with server() as (cluster, connection):
        cluster.api.leases._keep(
            KEY,
            {
                "metadata": {"name": "heapster", "resourceVersion": "9"},
                "spec": {
                    "holderIdentity": "gone",
                    "leaseDurationSeconds": 1,
                    "renewTime": "2099-01-01T00:00:00.000000Z",
                },
            },
        )
        replica = Replica(connection, "first")
        await asyncio.sleep(0.7)
        assert not replica.leads  # its clock is not compared with ours, its duration is
        await until(lambda: replica.leads)
        spec = cluster.api.leases.objects[KEY]["spec"]
        assert (spec["leaseTransitions"], spec["holderIdentity"]) == (1, "first")
        assert spec["renewTime"].endswith("Z")
        await replica.stop()


async def test_what_is_no_lease_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as (cluster, connection):
        cluster.api.leases._keep(KEY, {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": 5}})
        elector = Elector(connection, LeaseSettings("monitoring", "heapster", "me", **QUICK), changed=lambda _: None)
        with pytest.raises(KubernetesError, match="lease heapster cannot be read"):
            await elector._attempt()
