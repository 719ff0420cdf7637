# SPDX-License-Identifier: GPL-2.0-only
"""Text files of the user's: every failure is one line with the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pageblock_buddy.errors import InputError
from pageblock_buddy.textfiles import read_text, write_text


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "é\n")
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa9\n"
    assert read_text(tmp_path / "file", 2) == "é\n"


def test_too_long(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="file: longer than 1 MiB"):
        read_text(path, 1 << 20)


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="file: not text"):
        read_text(path, 10)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file: No such file"):
        read_text(tmp_path / "missing" / "file", 10)
    with pytest.raises(InputError, match="file: No such file"):
        write_text(tmp_path / "missing" / "file", "text")
