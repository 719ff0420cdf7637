# SPDX-License-Identifier: GPL-2.0-only
"""Errors: stable codes, the party at fault, JSON."""

from __future__ import annotations

import json

import pytest

from pageblock_buddy import errors
from pageblock_buddy.errors import MissingExtra, PageblockBuddyError

#: stable (SemVer): a code never changes and never disappears within a major version
CODES = {
    "ConfigError": ("bad-config", "config"),
    "CallerError": ("caller", "caller"),
    "BadArgument": ("bad-argument", "caller"),
    "BadFree": ("bad-free", "caller"),
    "DoubleFree": ("double-free", "caller"),
    "OrderMismatch": ("order-mismatch", "caller"),
    "LockError": ("lock", "model"),
    "SelfDeadlock": ("self-deadlock", "model"),
    "LockNotHeld": ("lock-not-held", "model"),
    "GuardViolation": ("guard", "model"),
    "ModelBug": ("model-bug", "model"),
    "InputError": ("bad-input", "input"),
    "ReplayDivergence": ("replay-divergence", "input"),
    "ExplorationIncomplete": ("incomplete", "caller"),
    "UnknownVariant": ("unknown-variant", "input"),
    "MissingExtra": ("missing-extra", "input"),
}


def subclasses(cls: type[PageblockBuddyError]) -> list[type[PageblockBuddyError]]:
    """All subclasses in the package, depth first."""
    return [
        c for sub in cls.__subclasses__() if sub.__module__ == "pageblock_buddy.errors" for c in (sub, *subclasses(sub))
    ]


def test_codes_are_stable() -> None:
    """Every code of errors.py, with its party at fault; no two are equal."""
    found = {cls.__name__: (cls.code, cls.fault) for cls in subclasses(PageblockBuddyError)}
    assert found == CODES
    assert len({code for code, _ in found.values()}) == len(found)


@pytest.mark.parametrize("cls", [c for c in subclasses(PageblockBuddyError) if c is not MissingExtra])
def test_to_dict(cls: type[PageblockBuddyError]) -> None:
    """An error is JSON; its details are sorted; the text is the message."""
    error = cls("what happened", pfn=5, order=1)
    assert json.loads(json.dumps(error.to_dict())) == {
        "code": cls.code,
        "fault": cls.fault,
        "message": "what happened",
        "hint": cls.hint,
        "details": {"order": 1, "pfn": 5},
    }
    assert list(error.details) == ["order", "pfn"]
    assert str(error) == "what happened"
    assert cls.hint


def test_missing_extra() -> None:
    """It says how to install what is missing."""
    error = MissingExtra("progress", "a progress bar")
    assert error.details == {"extra": "progress"}
    assert "pip install 'pageblock-buddy[progress]'" in error.message


def test_base() -> None:
    """The base catches all of them."""
    assert all(issubclass(getattr(errors, name), PageblockBuddyError) for name in CODES)
    assert PageblockBuddyError("x").to_dict()["code"] == "error"
