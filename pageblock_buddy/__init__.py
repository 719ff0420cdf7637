# SPDX-License-Identifier: GPL-2.0-only
"""pageblock-buddy: a readable reference implementation of the Linux page allocator.

The names in ``__all__`` are stable.  The mirrored functions live under their kernel names in the
variant packages (``pageblock_buddy.linux_6_12``).
"""

from pageblock_buddy.config import Config, ZoneConfig
from pageblock_buddy.errors import (
    BadArgument,
    BadFree,
    CallerError,
    ConfigError,
    DoubleFree,
    InputError,
    LockError,
    ModelBug,
    OrderMismatch,
    PageblockBuddyError,
    UnknownVariant,
)
from pageblock_buddy.machine.cpu import Context
from pageblock_buddy.machine.tracepoints import EventLog, Tracer
from pageblock_buddy.system import System

__version__ = "0.1.0"

__all__ = [
    "BadArgument",
    "BadFree",
    "CallerError",
    "Config",
    "ConfigError",
    "Context",
    "DoubleFree",
    "EventLog",
    "InputError",
    "LockError",
    "ModelBug",
    "OrderMismatch",
    "PageblockBuddyError",
    "System",
    "Tracer",
    "UnknownVariant",
    "ZoneConfig",
]
