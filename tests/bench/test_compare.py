"""Comparing revisions: pairing, refusals, and that nothing is left behind."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.compare import RefusedError, check_clean, checked_out, compare_all, order_of, table_of


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for text in ("old", "new"):
        (root / "collector.py").write_text(f"VERSION = {text!r}\n")
        git(root, "add", ".")
        git(root, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", text)
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


def test_old_and_new_take_turns_in_being_first():
    assert [order_of(number) for number in range(4)] == [(0, 1), (1, 0), (0, 1), (1, 0)]


def test_what_only_one_revision_has_is_named_without_numbers():
    found = compare_all([({"a": 2.0, "gone": 1.0}, {"a": 1.0, "new": 5.0}), ({"a": 2.0}, {"a": 4.0})])
    assert found["gone"] is found["new"] is None
    assert found["a"] is not None
    assert (found["a"]["pairs"], found["a"]["ratio"]) == (2, 1.25)
    assert table_of(found, "x", "y").row_count == 3


def test_a_pair_that_lost_one_side_does_not_count():
    found = compare_all([({"a": 2.0}, {}), ({"a": 2.0}, {"a": 1.0})])["a"]
    assert found is not None
    assert found["pairs"] == 1


def test_a_dirty_tree_is_refused_and_says_which_file(repository: Path):
    check_clean(repository)
    (repository / "collector.py").write_text("VERSION = 'neither'\n")
    with pytest.raises(RefusedError, match=r"collector\.py.*commit or stash"):
        check_clean(repository)


def test_a_revision_is_there_while_it_is_measured_and_gone_afterwards(repository: Path):
    with checked_out(repository, "HEAD~1") as (ours, tree):
        assert (tree / "collector.py").read_text() == "VERSION = 'old'\n"
        assert (ours / "benchmarks" / "compare.py").is_file()
        assert len(git(repository, "worktree", "list").splitlines()) == 2
    assert not tree.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert git(repository, "status", "--porcelain") == ""


def test_it_is_gone_after_a_failure_too(repository: Path):
    with pytest.raises(ZeroDivisionError), checked_out(repository, "HEAD"):
        raise ZeroDivisionError
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_what_is_no_revision_is_refused(repository: Path):
    with pytest.raises(RefusedError, match="nowhere is no revision"), checked_out(repository, "nowhere"):
        pass
