"""The recorded summaries under tests/captures/ (README there)."""

import json
from functools import cache
from pathlib import Path

CAPTURES = Path(__file__).parents[1] / "captures"
POD_ONLY = "podstats-gke-swap-google-2025.json"
"""One pod's part, not a whole answer."""

SUMMARIES = sorted(path.name for path in (CAPTURES / "summary").glob("*.json") if path.name != POD_ONLY)


@cache
def summary_body(name: str) -> bytes:
    """The bytes of one recorded answer."""
    return (CAPTURES / "summary" / name).read_bytes()


def wrapped_pod() -> bytes:
    """The lone pod as the answer of a node that reports nothing else."""
    return b'{"node": {"nodeName": "node-a"}, "pods": [%s]}' % summary_body(POD_ONLY)


EVERYTHING = json.dumps(
    {
        "node": {
            "nodeName": "node-a",
            "startTime": "2026-01-01T00:00:00Z",
            "cpu": {"time": "2026-01-02T03:04:05Z", "usageCoreNanoSeconds": 10**15},
            "memory": {"time": "2026-01-02T03:04:06.5Z", "usageBytes": 7, "workingSetBytes": 6, "rssBytes": 5},
            "network": {"time": "2026-01-02T03:04:07Z", "rxBytes": 1, "rxErrors": 0, "txBytes": 2, "txErrors": 0},
            "fs": {"usedBytes": 3, "capacityBytes": 9, "availableBytes": 6, "inodes": 4, "inodesFree": 2},
            "systemContainers": [
                {
                    "name": name,
                    "startTime": "2026-01-01T00:00:00Z",
                    "cpu": {"time": "2026-01-02T03:04:05Z", "usageCoreNanoSeconds": 11},
                    "memory": {"time": "2026-01-02T03:04:05Z", "pageFaults": 12, "majorPageFaults": 0},
                    "userDefinedMetrics": [{"name": "queue", "type": "gauge", "units": "", "value": 1.5}],
                }
                for name in ("kubelet", "runtime", "misc", "pods")
            ],
        },
        "pods": [
            {
                "podRef": {"name": pod, "namespace": "default", "uid": f"uid-{pod}"},
                "startTime": "2026-01-01T01:00:00+01:00",
                "network": {"time": "2026-01-02T03:04:08Z", "rxBytes": 5, "txBytes": 6},
                "cpu": {"time": "2026-01-02T03:04:09Z", "usageCoreNanoSeconds": 21},
                "memory": {"time": "2026-01-02T03:04:10Z", "workingSetBytes": 22},
                "ephemeral-storage": {"usedBytes": 23},
                "volume": [{"name": "cache", "usedBytes": 31, "inodesFree": 0}, {"name": "empty"}],
                "containers": [
                    {
                        "name": container,
                        "startTime": f"2026-01-01T00:00:0{second}Z",
                        "cpu": {"time": "2026-01-02T03:04:11Z", "usageCoreNanoSeconds": 41 + second},
                        "memory": {"time": "2026-01-02T03:04:12Z", "usageBytes": 42, "workingSetBytes": 43},
                        "rootfs": {"usedBytes": 51, "capacityBytes": 52, "availableBytes": 1},
                        "logs": {"usedBytes": 53, "inodes": 54},
                        "accelerators": [
                            {
                                "make": "m",
                                "model": "n",
                                "id": "gpu-0",
                                "memoryTotal": 8,
                                "memoryUsed": 0,
                                "dutyCycle": 99,
                            }
                        ],
                        "userDefinedMetrics": [
                            {"name": "requests", "type": "cumulative", "units": "", "value": 17},
                            {"name": "odd", "type": "histogram", "units": "", "value": 1},
                        ],
                    }
                    for container, second in (("nginx", 1), ("sidecar", 2), ("nginx", 0))
                ],
            }
            for pod in ("web-1", "web-2")
        ],
    }
).encode()
"""Made by hand: every field that is read, two of which (accelerators, user-defined metrics) no recording has."""
