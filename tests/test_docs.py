# SPDX-License-Identifier: GPL-2.0-only
"""The documentation: links lead somewhere, the commands it shows exist, and it is spelt correctly."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^ {0,3}```([\w-]*)[^\n]*\n(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|&&|\||;)\s*pageblock-buddy\s+([^|&;\n]+)", re.MULTILINE)
SHELLS = ("", "sh", "bash", "shell", "console")


def names(documents: list[Path]) -> list[str]:
    """Readable ids of parametrised tests."""
    return [str(path.relative_to(ROOT)) for path in documents]


# --- links -------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor of a heading, as the usual renderers make it."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a document; a repeated heading gets a number."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        base = slug(heading)
        candidates = (base if n == 0 else f"{base}-{n}" for n in range(len(found) + 1))
        found.add(next(c for c in candidates if c not in found))
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def dead_links(text: str, document: Path) -> list[str]:
    """Links of a document that lead to no file of the repository, or to no heading of it."""
    dead = []
    for groups in LINK.findall(INLINE_CODE.sub("", FENCE.sub("", text))):
        link = groups[0] or groups[1]
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue  # elsewhere
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve()
        if file and not (target.is_relative_to(ROOT) and target.exists()):
            dead.append(link)
            continue
        if anchor and anchor not in anchors(target.read_text() if file else text):
            dead.append(link)
    return dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_lead_somewhere(document: Path) -> None:
    assert dead_links(document.read_text(), document) == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/none.md)",
        "[a](docs/architecture.md#none)",
        "[a](#none)\n# Some",
        "[a](../elsewhere.md)",
        "[a]\n\n[a]: docs/none.md",
        "```sh\n# not a heading\n```\n[a](#not-a-heading)",
    ],
)
def test_a_dead_link_is_found(text: str) -> None:
    assert dead_links(text, README)


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/architecture.md)",
        "[a](docs/architecture.md#layers)",
        "[a](#the-kernels-call_it)\n# The kernel's `call_it`",
        "[a](#two-1)\n# Two\n# Two",
        "[a](https://www.kernel.org/)",
        "`Callable[[Kernel], int](x)`",
    ],
)
def test_a_good_link_is_fine(text: str) -> None:
    assert dead_links(text, README) == []


# --- commands ----------------------------------------------------------------------------------


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each pageblock-buddy command that a document shows."""
    shell = []
    for language, block in FENCE.findall(text):
        if language in SHELLS:
            lines = block.replace("\\\n", " ").splitlines()
            # In a console block what has no prompt is output.
            prompted = [line.removeprefix("$ ") for line in lines if language != "console" or line.startswith("$ ")]
            shell.append("\n".join(prompted))
    shell += [code for _, code in INLINE_CODE.findall(FENCE.sub("", text))]
    for code in shell:
        for arguments in COMMAND.findall(code):
            yield shlex.split(arguments, comments=True)


@cache
def help_of(*words: str) -> str | None:
    """What ``pageblock-buddy <words> --help`` prints, or None if it refuses."""
    script = "from pageblock_buddy.cli import main; raise SystemExit(main())"
    result = subprocess.run(
        [sys.executable, "-c", script, *words, "--help"], capture_output=True, text=True, check=False
    )
    return result.stdout if result.returncode == 0 else None


def wrong_commands(text: str) -> list[str]:
    """Commands with a subcommand or an option that does not exist."""
    wrong = []
    for words in commands(text):
        subcommand = [word for word in words[:1] if not word.startswith("-")]
        usage = help_of(*subcommand)
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        if usage is None or any(not re.search(rf"(?<![\w-]){re.escape(o)}(?![\w-])", usage) for o in options):
            wrong.append(shlex.join(words))
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_commands_exist(document: Path) -> None:
    assert wrong_commands(document.read_text()) == []


def test_the_readme_shows_the_demo() -> None:
    assert ["demo"] in list(commands(README.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "```sh\npageblock-buddy no-such-command\n```",
        "```console\n$ python -m pip install x && pageblock-buddy no-such-command\n```",
        "Run `pageblock-buddy no-such-command`.",
        "`pageblock-buddy demo --no-such-option`",
    ],
)
def test_a_wrong_command_is_found(text: str) -> None:
    assert wrong_commands(text)


def test_commands_are_found() -> None:
    shell = "```sh\ncd x && pageblock-buddy demo --a \\\n  --b # why\n```\n"
    console = "```console\n$ pageblock-buddy x\npageblock-buddy 0.1.0\n```\n"
    assert list(commands(f"{shell}{console}Run `pageblock-buddy y`, then `pip`.")) == [
        ["demo", "--a", "--b"],
        ["x"],
        ["y"],
    ]


# --- spelling ----------------------------------------------------------------------------------


def misspelt(*files: Path) -> str:
    """What codespell finds."""
    result = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not result.stderr
    return result.stdout


def test_spelling() -> None:
    assert misspelt(*DOCUMENTS, ROOT / "pageblock_buddy", ROOT / "tests", ROOT / ".ci" / "run") == ""


def test_a_misspelling_is_found(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("This is teh page.\n")  # codespell:ignore
    assert "teh ==> the" in misspelt(document)  # codespell:ignore
