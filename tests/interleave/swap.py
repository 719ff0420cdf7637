# SPDX-License-Identifier: GPL-2.0-only
"""Putting a bug into a mirrored function, for a while: tables and imports all refer to the one function object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def instead(function: Callable[..., Any], other: Callable[..., Any]) -> Iterator[None]:
    """Within the block ``function`` does what ``other`` does; both take the same parameters."""
    code = function.__code__
    function.__code__ = other.__code__
    try:
        yield
    finally:
        function.__code__ = code
