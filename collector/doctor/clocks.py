"""Clocks: what answers say of their time, against ours.

A Date has whole seconds, and an answer was given some time between question and arrival: what may be explained so is
no difference. Where most of the others agree on another time than ours, it is ours that is wrong.
"""

import statistics
from typing import Final

from collector.doctor.cluster import API_SERVER
from collector.doctor.finding import Finding, State, fine, skipped, wrong
from collector.doctor.patient import Dated, Patient

WARNING_S: Final = 5.0
"""From here on rates and ages are visibly wrong."""
BROKEN_S: Final = 30.0
"""From here on tokens, certificates and leases are."""
OURS: Final = "this machine"
_LEAST_VOTES: Final = 3


def skew(dated: Dated) -> float:
    """The least seconds by which that clock must be ahead of ours; negative behind, 0 if it may be right."""
    if dated.date > dated.received:
        return dated.date - dated.received
    return min(0.0, dated.date + 1 - dated.sent)


async def clocks(patient: Patient) -> list[Finding]:
    """One finding a clock: the API server's, the nodes', and ours where it is ours that differs."""
    if not patient.dates:
        return [skipped("nobody has said what time it is")]
    skews = {subject: skew(dated) for subject, dated in patient.dates.items()}
    # Ours has a vote, too; of two nobody knows who is right.
    votes = [0.0, *skews.values()]
    agreed = statistics.median_low(votes) if len(votes) >= _LEAST_VOTES else 0.0
    findings = []
    if abs(agreed) > WARNING_S:
        findings.append(_judged(OURS, -agreed))
    else:
        agreed = 0.0
    in_order = sorted(skews.items(), key=lambda each: (each[0] != API_SERVER, each[0]))
    return findings + [_judged(subject, ahead - agreed) for subject, ahead in in_order]


def _judged(subject: str, ahead: float) -> Finding:
    if abs(ahead) <= WARNING_S:
        return fine("its clock agrees with the others", subject)
    return wrong(
        "clock",
        subject,
        state=State.BROKEN if abs(ahead) > BROKEN_S else State.WARNING,
        skew=f"{abs(ahead):.0f} s",
        direction="ahead" if ahead > 0 else "behind",
    )
