"""The checks, in their order, and how they are gone through."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, NamedTuple

from collector.doctor import apiservice, clocks, cluster, kubelets, machine, rights, sinks
from collector.doctor.finding import Finding, State, skipped, worst, wrong
from collector.doctor.patient import FACTS, Patient
from collector.options import Options


@dataclass(frozen=True, slots=True)
class Check:
    """One row."""

    name: str
    about: str
    """What is looked at, for people."""
    run: Callable[[Patient], Awaitable[list[Finding]]]
    needs: tuple[str, ...] = ()
    """Facts (see FACTS) without which it is skipped."""
    many: bool = False
    """Whether there is a finding for each of many alike, so that people are shown what is well as one."""


CHECKS: Final[tuple[Check, ...]] = (
    Check("api-server", "the API server answers", cluster.api_server),
    Check("identity", "it knows us", cluster.identity, ("api-server",)),
    Check("rights", "we may do what the flags ask for", rights.rights, ("api-server", "identity"), many=True),
    Check(
        "nodes", "there are nodes that can be asked", cluster.nodes, ("api-server", "identity", "list nodes"), many=True
    ),
    Check("open-files", "a connection to each of them can stay open", machine.open_files, ("nodes",)),
    Check("kubelets", "every kubelet is asked as the collector would", kubelets.asked, ("nodes",)),
    Check("kubelet-address", "its address and port take connections", kubelets.address, ("kubelets",), many=True),
    Check("kubelet-tls", "it is the kubelet that is meant", kubelets.tls, ("kubelets",), many=True),
    Check("kubelet-access", "it lets us in", kubelets.access, ("kubelets",), many=True),
    Check("kubelet-full", "its statistics can be read", kubelets.full, ("kubelets",), many=True),
    Check("kubelet-light", "its light endpoint can be read", kubelets.light, ("kubelets",), many=True),
    Check("clocks", "all clocks agree", clocks.clocks, ("api-server",), many=True),
    Check("sinks", "sinks can be reached and written to", sinks.sinks),
    Check("history", "the past can be read", sinks.past),
    Check(
        "apiservices",
        "kubectl top is led to us",
        apiservice.apiservices,
        ("second server", "api-server", "identity", "get apiservices"),
    ),
    Check("certificates", "the files of certificates can be used", machine.certificates),
    Check("places", "there is room on disk for what outlives the process", machine.places),
)


class Result(NamedTuple):
    """What came of one check."""

    check: Check
    findings: Sequence[Finding]

    @property
    def state(self) -> State:
        """That of the worst finding."""
        return worst(self.findings)


async def examine(options: Options, begins: Callable[[Check], None] = lambda _check: None) -> list[Result]:
    """Go through all checks; `begins` hears of each before it. Raises UsageError for a source that means nothing."""
    results = []
    async with AsyncExitStack() as closing:
        patient = Patient(options, closing)
        if patient.aggregated:
            patient.facts.add("second server")
        for check in CHECKS:
            begins(check)
            results.append(Result(check, await _findings(check, patient)))
    return results


async def _findings(check: Check, patient: Patient) -> Sequence[Finding]:
    lacking = next((fact for fact in check.needs if fact not in patient.facts), None)
    if lacking is not None:
        return [skipped(FACTS[lacking])]
    try:
        return await check.run(patient)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  # the others are still worth knowing
        return [wrong("internal", trouble=f"{type(error).__name__}: {error}")]
