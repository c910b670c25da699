"""The hot functions on their own, the library's way beside ours where there is one. Prints one line of JSON.

    python -m benchmarks.micro [--nodes 300] [--runs 5] [name ...]

Names are parts of function names; without any, all are measured.
"""

import argparse
import gc
import json
import sys
from itertools import chain

from benchmarks import hot_floors, hot_in, hot_light, hot_out
from benchmarks.material import Material
from benchmarks.timing import RUNS, Result, measured, with_ratios

NODES = 300


def run(nodes: int = NODES, runs: int = RUNS, names: tuple[str, ...] = ()) -> list[Result]:
    """Measure what is named."""
    material = Material(nodes)
    results = []
    gc.disable()  # a collection belongs to no function in particular
    try:
        parts = (
            hot_in.functions(material),
            hot_floors.functions(material),
            hot_light.functions(nodes),
            hot_out.functions(material),
        )
        for function in chain.from_iterable(parts):
            if not names or any(name in function.name for name in names):
                results.append(measured(function, runs))
            gc.collect()
    finally:
        gc.enable()
    return with_ratios(results)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help="kubelets whose answers are the material")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each function")
    parser.add_argument("names", nargs="*", help="measure only functions whose name holds one of these")
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.nodes, arguments.runs, tuple(arguments.names))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
