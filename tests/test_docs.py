"""The pages tell the truth: links lead somewhere, commands exist, each deliberate difference has a heading."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("README.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named == {"demo", "test"}
    assert named <= targets


def test_a_decision_is_numbered_once_and_says_why():
    decisions = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert "**Decided.**" in path.read_text()
        assert "**Why.**" in path.read_text()


def test_the_behaviours_that_were_fixed_have_headings_in_the_list_of_differences():
    text = (ROOT / "docs" / "compatibility.md").read_text()
    for words in (
        "failing node",
        "usedBytes",
        "5 s means 5 s",
        "backwards",
        "own counter",
        "slash",
        "sorted",
        "Health",
        "SIGTERM",
    ):
        assert re.search(rf"^## .*{words}", text, re.MULTILINE), words


def test_every_folder_with_modules_is_a_package_and_so_is_installed():
    for top in ("collector", "sinks"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module
