"""Old against new: two revisions measured alternately, pair by pair, in one run.

    python -m benchmarks.compare OLD NEW [--pairs 3] [--shape 100-nodes ...] [--micro NAME ...] [--no-micro]

Both revisions are checked out into temporary worktrees and measured with the benchmarks of this one. The load of a
shared machine drifts within minutes: only what ran side by side may be compared, so every ratio is taken within a pair,
and the order within a pair changes from one to the next.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.repeat import ROOT, MeasurementError, run, summed_up
from benchmarks.shapes import SHAPES
from benchmarks.statistics import Comparison, compared


class RefusedError(Exception):
    """What was asked cannot be measured honestly; the text says why and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", help="a git revision")
    parser.add_argument("new", help="a git revision")
    parser.add_argument("--pairs", type=int, default=3, help="how often both are measured")
    parser.add_argument(
        "--shape", action="append", choices=SHAPES, help="measure cycles of this shape; may be repeated"
    )
    parser.add_argument(
        "--micro", action="append", help="measure only functions whose name holds this; may be repeated"
    )
    parser.add_argument("--no-micro", action="store_true", help="leave out the single functions")
    parser.add_argument("--nodes", type=int, default=100, help="kubelets whose answers the single functions get")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        with ExitStack() as stack:
            check_clean(ROOT)
            paths = tuple(
                stack.enter_context(checked_out(ROOT, revision)) for revision in (arguments.old, arguments.new)
            )
            pairs = []
            for number in range(arguments.pairs):
                console.print(f"pair {number + 1} of {arguments.pairs} ...", style="dim")
                pairs.append(_pair(paths, arguments, number, console))
    except RefusedError as error:
        console.print(str(error), style="red")
        return 1
    console.print(table_of(compare_all(pairs), arguments.old, arguments.new))
    return 0


def check_clean(repository: Path) -> None:
    """Raise RefusedError where files differ from what is committed: no revision would be what is measured."""
    changed = _git(repository, "status", "--porcelain").splitlines()
    if changed:
        shown = ", ".join(line[3:] for line in changed[:5])
        raise RefusedError(f"the tree has changes that are in no revision ({shown}): commit or stash them first")


@contextmanager
def checked_out(repository: Path, revision: str) -> Iterator[tuple[Path, ...]]:
    """Where Python finds this revision's collector, and the benchmarks of this tree; gone afterwards."""
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        raise RefusedError(f"{revision} is no revision of {repository.name}") from None
    with tempfile.TemporaryDirectory(prefix="heapster-compare-") as directory:
        tree, ours = Path(directory, "tree"), Path(directory, "ours")
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            ours.mkdir()
            (ours / "benchmarks").symlink_to(ROOT / "benchmarks")
            yield ours, built(tree, Path(directory, "built"))
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def built(tree: Path, target: Path) -> Path:
    """Where this tree is installed, its C extensions built; the tree itself where there is nothing to build."""
    if not (tree / "pyproject.toml").exists():
        return tree
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(f"{tree.name} cannot be built: {done.stderr.strip()[-500:]}")
    return target


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


Measured = dict[str, float]
"""Measurement -> CPU seconds or MiB."""


def _pair(
    paths: Sequence[Sequence[Path]], arguments: argparse.Namespace, number: int, console: Console
) -> tuple[Measured, Measured]:
    """One pair, measurement by measurement: old and new of one are neighbours in time."""
    found: tuple[Measured, Measured] = ({}, {})
    for side in order_of(number):
        if not arguments.no_micro:
            found[side].update(_attempt(lambda path: _micro(arguments, path), paths[side], console))
    for shape in arguments.shape or ():
        for side in order_of(number):
            found[side].update(_attempt(lambda path, shape=shape: _cycle(shape, path), paths[side], console))
    return found


def order_of(number: int) -> tuple[int, int]:
    """Who of (old, new) is first in this pair: they take turns."""
    return (0, 1) if number % 2 == 0 else (1, 0)


def _attempt(measure, path: Sequence[Path], console: Console) -> Measured:  # noqa: ANN001
    try:
        return measure(path)
    except MeasurementError as error:
        console.print(f"not measured: {error}", style="yellow")
        return {}


def _micro(arguments: argparse.Namespace, path: Sequence[Path]) -> Measured:
    results = run("micro", f"--nodes={arguments.nodes}", "--runs=3", *(arguments.micro or ()), path=path)
    return {f"{result['function']}, CPU s": result["cpu_s"] for result in results if not result["beside"]}


def _cycle(shape: str, path: Sequence[Path]) -> Measured:
    found = summed_up([run("cycle", shape, path=path)])
    return {
        f"{shape}: cycle, CPU s": found["cpu_s"]["least"],
        f"{shape}: first cycle, CPU s": found["first_cycle_cpu_s"]["least"],
        f"{shape}: peak MiB": found["peak_mib"]["most"],
    }


def compare_all(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> dict[str, Comparison | None]:
    """Measurement -> what its pairs say; None for what only one revision has."""
    names = dict.fromkeys(name for pair in pairs for side in pair for name in side)
    both = {name: [(old[name], new[name]) for old, new in pairs if name in old and name in new] for name in names}
    return {name: compared(found) if found else None for name, found in both.items()}


def table_of(comparisons: Mapping[str, Comparison | None], old: str, new: str) -> Table:
    """Old, new, ratio and the ratio's spread, a row for each measurement."""
    table = Table(title=f"{old} (old) and {new} (new): best of each, ratio new / old of pairs", title_justify="left")
    for column in ("measurement", "old", "new", "ratio", "from", "to", "pairs"):
        table.add_column(column, justify="left" if column == "measurement" else "right")
    for name, found in comparisons.items():
        if found is None:
            table.add_row(name, *["-"] * 6)
            continue
        ratios = [f"{found[key]:.2f}" for key in ("ratio", "ratio_least", "ratio_most")]
        table.add_row(name, f"{found['old']:.4g}", f"{found['new']:.4g}", *ratios, str(found["pairs"]))
    return table


if __name__ == "__main__":
    sys.exit(main())
