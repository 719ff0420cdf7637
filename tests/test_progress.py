# SPDX-License-Identifier: GPL-2.0-only
"""The progress bar: on a terminal, for long files, with tqdm and without; nowhere else."""

from __future__ import annotations

import importlib.util
import io
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from pageblock_buddy.progress import progress_bar
from tests.recording.cut import cut, read_lines, recording, write_lines

#: replay with or without tqdm
PROGRAM = """
import sys
if {hidden}:
    sys.modules["tqdm"] = None
from pageblock_buddy.cli import main
sys.exit(main(sys.argv[1:]))
"""

HAS_TQDM = importlib.util.find_spec("tqdm") is not None


def on_a_terminal(path: Path, *, tqdm: bool) -> tuple[int, str, str]:
    """Replay with stderr on a terminal.  Returns exit code, stdout, stderr."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 80))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(hidden=not tqdm), "replay", str(path)],
        stdout=subprocess.PIPE,
        stderr=inside,
        stdin=subprocess.DEVNULL,
    ) as process:
        os.close(inside)
        seen = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # Linux: EIO when the last writer is gone
                break
            if not piece:
                break
            seen += piece
        assert process.stdout is not None
        out = process.stdout.read().decode()
        code = process.wait(60)
    os.close(terminal)
    return code, out, seen.decode()


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = cut(read_lines(recording("b")), 8000)
    return write_lines(tmp_path_factory.mktemp("long") / "long.jsonl.gz", lines)


def test_percent_without_tqdm(long_file: Path) -> None:
    code, out, err = on_a_terminal(long_file, tqdm=False)
    assert code == 0
    assert out.endswith(" operations, 0 mismatches\n")
    percentages = [int(n) for n in re.findall(r"\rreplay: +(\d+) %", err)]
    assert len(percentages) >= 3
    assert percentages == sorted(percentages)
    assert 0 <= percentages[0] < 50 < percentages[-1] <= 100
    assert err.endswith("\r\x1b[K")  # gone at the end


@pytest.mark.skipif(not HAS_TQDM, reason="the extra progress is not installed")
def test_a_bar_with_tqdm(long_file: Path) -> None:
    code, out, err = on_a_terminal(long_file, tqdm=True)
    assert code == 0
    assert out.endswith(" operations, 0 mismatches\n")
    assert re.search(r"replay: +\d+%\|", err)
    assert "Traceback" not in err


def test_the_line_is_cleared_before_an_error(tmp_path: Path, long_file: Path) -> None:
    """An error that comes in the middle starts on a line of its own."""
    lines = read_lines(long_file)
    path = write_lines(tmp_path / "short.jsonl", lines[:-10])
    code, out, err = on_a_terminal(path, tqdm=False)
    assert (code, out) == (2, "")
    assert "\r\x1b[Kpageblock-buddy: short.jsonl: line " in err


def test_a_natural_run_moves_on(tmp_path: Path) -> None:
    """Its file is read at once; the bar is about the operations."""
    lines = read_lines(recording("nat"))
    path = write_lines(tmp_path / "natural.jsonl", [lines[0].replace('"ne":81810,"nev":81810', '"ne":8000,"nev":8000')])
    path = write_lines(path, [*read_plain(path), *lines[1:8002], lines[-1]])
    _, _, err = on_a_terminal(path, tqdm=False)
    percentages = [int(n) for n in re.findall(r"\rreplay: +(\d+) %", err)]
    assert len(set(percentages)) > 5
    assert percentages[0] < 10


def read_plain(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_nothing_for_a_short_file(tmp_path: Path) -> None:
    lines = cut(read_lines(recording("a")), 10)
    path = write_lines(tmp_path / "short.jsonl.gz", lines)
    assert path.stat().st_size < 64 << 10
    code, _, err = on_a_terminal(path, tqdm=False)
    assert (code, err) == (0, "")


def test_nothing_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("replay", 1 << 30) as progress:
        assert progress is None
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_percentage_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with progress_bar("replay", 1 << 20) as progress:
        assert progress is not None
        progress(0, 1 << 20)
        progress(1 << 19, 1 << 20)
        progress(5, 0)  # a size that is not known
    assert stream.getvalue() == "\rreplay:   0 %\rreplay:  50 %\rreplay: 500 %\r\x1b[K"


@pytest.mark.skipif(not HAS_TQDM, reason="the extra progress is not installed")
def test_the_bar_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("replay", 1 << 20) as progress:
        assert progress is not None
        progress(1 << 19, 1 << 20)
        progress(1 << 20, 1 << 20)
    assert "replay:" in stream.getvalue()
