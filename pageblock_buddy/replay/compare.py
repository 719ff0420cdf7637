# SPDX-License-Identifier: GPL-2.0-only
"""Comparing what the kernel did with what the model did: the first difference, and where."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from pageblock_buddy.machine.tracepoints import Event

#: Lists up to this length are shown whole in a difference.
_SHOWN = 12


def first_difference(
    expected: Any, got: Any, path: str = "", ignore: Container[str] = ()
) -> tuple[str, Any, Any] | None:
    """(path, expected, got) of the first difference of two JSON values, or None.

    Keys of objects in ``ignore`` are passed over.  True is not 1 and 1.0 is not 1 here.
    """
    if type(expected) is not type(got):
        return path, expected, got
    if isinstance(expected, dict):
        for key in sorted(expected.keys() | got.keys()):
            if key in ignore:
                continue
            where = f"{path}.{key}" if path else key
            if key not in expected or key not in got:
                return where, expected.get(key, "absent"), got.get(key, "absent")
            found = first_difference(expected[key], got[key], where, ignore)
            if found is not None:
                return found
        return None
    if not isinstance(expected, list):
        return None if expected == got else (path, expected, got)
    if all(type(x) is int for x in expected) and all(type(x) is int for x in got):
        return None if expected == got else _list_difference(expected, got, path)
    for i, (a, b) in enumerate(zip(expected, got, strict=False)):
        found = first_difference(a, b, f"{path}[{i}]", ignore)
        if found is not None:
            return found
    if len(expected) == len(got):
        return None
    return f"{path}.length", len(expected), len(got)


def _list_difference(expected: list[int], got: list[int], path: str) -> tuple[str, Any, Any]:
    """The place where two lists of PFNs part; short lists are shown whole."""
    if max(len(expected), len(got)) <= _SHOWN:
        return path, expected, got
    at = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    return f"{path}[{at}:]", expected[at : at + _SHOWN], got[at : at + _SHOWN]


def event_difference(
    expected: list[tuple[int, Event]], got: list[Event], lineno: int
) -> tuple[int, list[Any] | None, list[Any] | None] | None:
    """(line, expected, got) of the first inner event that differs, or None.

    None instead of an event: there is none on that side.  ``lineno`` is the line to blame
    for an event that the recording lacks.  Both hold integers and strings only.
    """
    if [event for _, event in expected] == got:
        return None
    for (line, event), mine in zip(expected, got, strict=False):
        if event != mine:
            return line, list(event), list(mine)
    if len(expected) > len(got):
        line, event = expected[len(got)]
        return line, list(event), None
    if len(got) > len(expected):
        return lineno, None, list(got[len(expected)])
    return None
