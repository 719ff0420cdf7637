# SPDX-License-Identifier: GPL-2.0-only
"""Text files of the user's: every failure is one InputError with the path."""

from __future__ import annotations

from pathlib import Path

from pageblock_buddy.errors import InputError


def read_text(path: str | Path, max_characters: int) -> str:
    """A whole file of at most so many characters.  Errors: InputError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(max_characters + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if len(text) > max_characters:
        raise InputError(f"{path}: longer than {max_characters >> 20} MiB")
    return text


def write_text(path: str | Path, text: str) -> None:
    """Write the file, the same bytes on every system.  Errors: InputError."""
    try:
        Path(path).write_bytes(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
