"""Runs the Dockerfile's own steps in an unpacked Debian and looks at the result: where there is no container engine.

    sudo .ci/image_steps.py [--work build/image] [--keep]

Needs root, debootstrap, unshare, setpriv and the package registries. Every stage is a copy of one base tree that stands
in for the official Python image: Debian 13 with Debian's Python 3.13, its headers, and a pip under /usr/local. What
this cannot show is in docs/deploy.md, "The image".
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASE = "python:3.13-slim-trixie"
PACKAGES = "ca-certificates,python3,python3-venv,libpython3-dev"
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = re.compile(r"^(PIP_|SSL_CERT_|https?_proxy$|no_proxy$|HTTPS?_PROXY$|NO_PROXY$)")
"""What of our own environment the steps see: how to reach the registries, as a container engine's build would."""

SEED = """
python3 -m venv /tmp/seed
/tmp/seed/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))'
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
/tmp/seed/bin/pip install -q --target /usr/local/lib/python3.13/dist-packages pip
mkdir -p /usr/local/bin && ln -sf /usr/bin/python3 /usr/local/bin/python
rm -rf /tmp/seed
"""


@dataclass(slots=True)
class Stage:
    """One `FROM`: its tree and what its instructions have set so far."""

    name: str
    tree: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": SEARCH})
    arguments: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    def expanded(self, text: str) -> str:
        """`$NAME` replaced by what ENV and ARG have said."""
        known = self.arguments | self.environment
        return re.sub(r"\$(\w+)", lambda found: known.get(found[1], ""), text)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Word and rest of every instruction, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def run(command: Sequence[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it; its output is ours unless asked for. Raises CalledProcessError."""
    return subprocess.run([str(part) for part in command], check=True, text=True, **more)


def inside(stage: Stage, script: str, *, prelude: str = "", user: str = "") -> list[str]:
    """The command that runs a shell script in a stage's tree, in namespaces of its own: nothing stays mounted."""
    tree = shlex.quote(str(stage.tree))
    mounts = f"mount -t proc proc {tree}/proc; mount --rbind /dev {tree}/dev; ip link set lo up 2>/dev/null || true"
    ids = "--reuid={} --regid={} --clear-groups".format(*user.split(":")) if user else ""
    locked = f"setpriv {ids} --no-new-privs --inh-caps=-all --bounding-set=-all" if user else ""
    change = f"exec chroot {tree} {locked} /bin/sh -ec {shlex.quote(f'cd {stage.directory}; {script}')}"
    return ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "sh", "-ec", f"{prelude}\n{mounts}\n{change}"]


def environment(stage: Stage, *, building: bool) -> dict[str, str]:
    """What a process of a stage sees."""
    ours = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)} if building else {}
    return ours | (stage.arguments if building else {}) | stage.environment | {"HOME": "/root" if building else "/"}


def base_tree(work: Path) -> Path:
    """The tree that stands in for the base image; made once."""
    tree, done = work / "base", work / "base.done"
    if not done.exists():
        shutil.rmtree(tree, ignore_errors=True)
        run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", tree], stdout=subprocess.DEVNULL)
        step(Stage("base", tree), SEED)
        done.touch()
    return tree


def step(stage: Stage, script: str) -> None:
    """A RUN: as root, with the network and the certificates of this machine."""
    tree = shlex.quote(str(stage.tree))
    prelude = f"mount --bind /etc/resolv.conf {tree}/etc/resolv.conf; mount --bind /etc/ssl/certs {tree}/etc/ssl/certs"
    (stage.tree / "etc/resolv.conf").touch()
    run(
        inside(stage, script, prelude=prelude),
        env=environment(stage, building=True) | {"DEBIAN_FRONTEND": "noninteractive"},
    )


def copy(stage: Stage, rest: str, stages: Mapping[str, Stage]) -> None:
    """A COPY, from the build context or from another stage."""
    origin = re.match(r"--from=(\S+)\s+", rest)
    *names, target = rest[origin.end() if origin else 0 :].split()
    into = stage.tree / (Path(stage.directory) / target).as_posix().lstrip("/")
    for name in names:
        found = stages[origin[1]].tree / name.lstrip("/") if origin else ROOT / name
        if found.is_dir():
            left_out = None if origin else shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(found, into, symlinks=True, ignore=left_out, dirs_exist_ok=True)
        else:
            place = into / found.name if target.endswith("/") or into.is_dir() else into
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, place)


def pairs(stage: Stage, rest: str) -> dict[str, str]:
    """`A=b C="d e"` of ENV and LABEL."""
    return dict(stage.expanded(part).split("=", 1) for part in shlex.split(rest))


def carried_out(text: str, work: Path, commit: str) -> Stage:
    """Do everything the Dockerfile says; the last stage."""
    base, stages, stage = base_tree(work), {}, None
    for word, rest in instructions(text):
        if word == "FROM":
            image, *alias = rest.split(" AS ")
            assert image == BASE, f"the base tree stands in for {BASE}, not for {image}"
            stage = Stage(alias[0] if alias else "result", work / (alias[0] if alias else "result"))
            stages[stage.name] = stage
            shutil.rmtree(stage.tree, ignore_errors=True)
            run(["cp", "-a", "--reflink=auto", base, stage.tree])
            continue
        assert stage is not None, "a Dockerfile starts with FROM"
        print(f"[{stage.name}] {word} {rest[:100]}", flush=True)
        match word:
            case "RUN":
                step(stage, rest)
            case "COPY":
                copy(stage, rest, stages)
            case "ENV":
                stage.environment |= pairs(stage, rest)
            case "LABEL":
                stage.labels |= pairs(stage, rest)
            case "ARG":
                name, _, default = rest.partition("=")
                stage.arguments[name] = {"COMMIT": commit}.get(name, default)
            case "WORKDIR":
                stage.directory = rest
                (stage.tree / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = rest
            case "ENTRYPOINT":
                stage.entry = json.loads(rest)
            case "EXPOSE":
                pass
            case _:
                raise AssertionError(f"no meaning known for {word}")
    assert stage is not None
    return stage


def started(stage: Stage, arguments: str, *, limit: int = 120) -> str:
    """What the image says when it is started as a pod would start it: its user, no rights, a root that is read-only.

    Nothing but loopback to talk to; /tmp and the places of the volumes can be written to.
    """
    tree = shlex.quote(str(stage.tree))
    prelude = f"""
mount --bind {tree} {tree}; mount -o remount,bind,ro {tree}
for place in tmp var/lib/heapster var/run/heapster/tls; do
    test -d {tree}/$place && mount -t tmpfs -o mode=1777 tmpfs {tree}/$place
done
"""
    script = " ".join([*map(shlex.quote, stage.entry), arguments]) if not arguments.startswith("!") else arguments[1:]
    command = inside(stage, script, prelude=prelude, user=stage.user)
    command.insert(1, "--net")
    done = run(command, env=environment(stage, building=False), capture_output=True, timeout=limit)
    return done.stdout + done.stderr


def proved(stage: Stage, commit: str) -> list[str]:
    """What was looked at, a line each. Raises AssertionError or CalledProcessError at the first that is not so."""
    for place in ("var/lib/heapster", "var/run/heapster/tls"):  # a container runtime makes the places of mounts
        (stage.tree / place).mkdir(parents=True, exist_ok=True)
    found = []
    said = started(stage, "--version")
    assert commit in said, said
    found.append(f"--version: {' '.join(said.split())}")
    said = started(stage, "!id -u; id -g; touch /opt/x 2>&1 || true; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    assert said.split()[:2] == ["65532", "65532"], said
    assert "Read-only file system" in said, said
    assert re.search(r"CapEff:\s+0{16}", said), said
    found.append("runs as 65532:65532, without a capability, on a root that is read-only")
    before = time.monotonic()
    said = started(stage, "demo --cycles=1 --nodes=2 --pods=2 --resolution=1s")
    assert "cycle 1: 2 nodes" in said, said
    found.append(
        f"demo: one cycle of two simulated nodes over TLS, start and end included {time.monotonic() - before:.1f} s"
    )
    said = started(
        stage, "!/opt/heapster/bin/python -c 'from collector.sources import _projection as p; print(p.__file__)'"
    )
    assert said.strip().endswith(".so"), said
    found.append(f"the C extension: {said.strip()}")
    unwanted = "gcc cc ld as make pip pip3"
    said = started(
        stage, f"!for name in {unwanted}; do command -v $name || true; done; python -m pip --version 2>&1 || true"
    )
    assert said.split("\n", 1)[0].strip().endswith("No module named pip"), said
    found.append("no gcc, cc, ld, as, make, pip in it")
    sbom = json.loads((stage.tree / "opt/heapster/sbom.cdx.json").read_text())
    assert "numpy" in {component["name"] for component in sbom["components"]}
    assert sbom["metadata"]["component"]["name"] == "pyheapster"
    found.append(f"SBOM: CycloneDX {sbom['specVersion']}, {len(sbom['components'])} components")
    assert stage.labels["org.opencontainers.image.revision"] == commit
    size = int(run(["du", "-sm", stage.tree / "opt/heapster"], capture_output=True).stdout.split()[0])
    found.append(f"/opt/heapster: {size} MB")
    return found


def arm64_wheels() -> str:
    """Every pinned dependency has a wheel for arm64."""
    with_wheels = ["--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_28_aarch64"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--target", "/nowhere", "--python-version", "3.13", "--implementation", "cp", *with_wheels]
    run([*command, "--only-binary", ":all:", "--require-hashes", "-r", ROOT / "requirements.lock"], capture_output=True)
    return "every dependency has a wheel for arm64 and CPython 3.13"


def main() -> int:
    """0 when everything is as it should be."""
    parser = argparse.ArgumentParser(description="run the Dockerfile's steps in an unpacked Debian")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "image")
    parser.add_argument("--keep", action="store_true", help="leave the trees of the stages there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("chroot and mount need root: run it with sudo")
    for tool in ("debootstrap", "unshare", "setpriv", "chroot"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is needed: install it (Debian: debootstrap, util-linux, coreutils)")
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    commit = run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).stdout.strip()
    stage = carried_out((ROOT / "Dockerfile").read_text(), work, commit)
    for line in (*proved(stage, commit), arm64_wheels()):
        print(f"ok: {line}")
    if not options.keep:
        for path in (work / "build", work / "result"):
            shutil.rmtree(path, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
