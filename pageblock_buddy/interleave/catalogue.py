# SPDX-License-Identifier: GPL-2.0-only
"""The built-in programs: files of data/programs/, by name."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from pageblock_buddy.errors import InputError
from pageblock_buddy.interleave.program import Program, load_program

_FOLDER: Final = files("pageblock_buddy") / "data" / "programs"


@cache
def program_names() -> tuple[str, ...]:
    """The names of the built-in programs, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".json") for entry in _FOLDER.iterdir() if entry.name.endswith(".json"))
    )


@cache
def built_in(name: str) -> Program:
    """A built-in program.  Errors: InputError for an unknown name."""
    if name not in program_names():
        raise InputError(f"no built-in program {name!r}; there are: {', '.join(program_names())}")
    return Program.from_dict(json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def get_program(name_or_path: str) -> Program:
    """A built-in program by its name, or one from a file.  Errors: InputError."""
    if name_or_path in program_names():
        return built_in(name_or_path)
    if not _exists(name_or_path):
        raise InputError(
            f"{name_or_path}: no such file, nor a built-in program; these are: {', '.join(program_names())}"
        )
    return load_program(name_or_path)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or no path at all
        return False
