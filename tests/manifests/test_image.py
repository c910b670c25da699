"""The Dockerfile, read: `make image-proof` runs its steps."""

import re
from itertools import takewhile

import pytest

from collector.version import COMMIT_VARIABLE
from tests.manifests.renders import RENDERS, ROOT, collector, rendered

TEXT = (ROOT / "Dockerfile").read_text()
LINES = TEXT.splitlines()
RESULT = TEXT[TEXT.rindex("\nFROM ") :]
"""The stage that becomes the image."""


@pytest.mark.parametrize("name", RENDERS)
def test_the_image_runs_as_the_user_that_the_pod_runs_as(name):
    (user,) = [line.split()[1] for line in LINES if line.startswith("USER ")]
    pod = collector(rendered(name))["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"


def test_the_image_says_which_commit_it_is_of():
    assert "ARG COMMIT=unknown" in LINES
    assert LINES.index("ARG COMMIT=unknown") < LINES.index(f"ENV {COMMIT_VARIABLE}=$COMMIT")
    assert "LABEL org.opencontainers.image.revision=$COMMIT" in LINES


def test_what_the_image_copies_is_in_its_build_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [line.split() for line in LINES if line.startswith("COPY ") and "--from" not in line]
    copied = [name for _, *names, _ in copies for name in names]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_whatever_is_installed_is_pinned_by_hash_and_a_wheel_or_is_ours():
    commands = re.findall(r"pip (?:install|wheel) ([^&\n]*)", TEXT)
    assert len(commands) == 4
    for command in commands:
        assert {"--require-hashes", "--only-binary"} <= set(command.split()) or "--no-deps" in command.split()
    for lock in {part for command in commands for part in command.split() if part.endswith(".lock")}:
        pins = re.findall(r"^(\S+)==\S+(.*(?:\n .*)*)", (ROOT / lock).read_text(), re.MULTILINE)
        assert pins
        assert [name for name, rest in pins if "--hash=sha256:" not in rest] == []


def test_the_result_has_nothing_to_build_with_and_leaves_the_probing_to_kubernetes():
    assert "apt-get" not in RESULT
    assert "pip uninstall --yes pip" in RESULT
    assert not [line for line in LINES if line.startswith("HEALTHCHECK")]
    bases = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    assert len(bases) == 1, "an interpreter of the build stage must be that of the result"


def test_the_reader_of_the_steps_is_told_to_run_them():
    comment = "\n".join(takewhile(lambda line: line.startswith("#"), LINES))
    assert "make image-proof" in comment
    assert re.search(r"^image-proof:", (ROOT / "Makefile").read_text(), re.MULTILINE)
