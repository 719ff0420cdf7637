# SPDX-License-Identifier: GPL-2.0-only
"""What a run can find, by stable codes (docs/interleaver.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pageblock_buddy.errors import (
    GuardViolation,
    LockNotHeld,
    ModelBug,
    PageblockBuddyError,
    SelfDeadlock,
)

if TYPE_CHECKING:
    from pageblock_buddy.interleave.engine import Engine
    from pageblock_buddy.interleave.process import Running


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault: its code, one line of text, the process that came upon it, and more lines where they help.

    ``detail`` tells findings of one code apart: the invariant, the class of the error, the cycle of lock classes.
    """

    code: str
    message: str
    process: str = ""
    detail: str = ""
    lines: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> str:
        """Code and detail: what stays the same while a counterexample shrinks."""
        return f"{self.code}:{self.detail}" if self.detail else self.code

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON types."""
        return {
            "code": self.code,
            "detail": self.detail,
            "message": self.message,
            "process": self.process,
            "lines": list(self.lines),
        }


def finding_of_error(engine: Engine, process: Running, error: BaseException) -> Finding:
    """The finding that an exception in a process is."""
    where = f"{process.where()}, {process.text()}"
    match error:
        case KeyboardInterrupt():
            return Finding("livelock", f"{where}: reaches no point", process.name)
        case GuardViolation(message=message):
            return Finding("guard", message, process.name, str(error.details.get("field", error.details.get("lock"))))
        case SelfDeadlock(message=message):
            return Finding("self-deadlock", message, process.name, str(error.details.get("lock")))
        case LockNotHeld(message=message):
            return Finding("not-held", f"{where}: {message}", process.name, str(error.details.get("lock")))
        case ModelBug(message=message):
            return Finding("invariant", f"{where}: {message}", process.name, str(error.details.get("invariant")))
        case PageblockBuddyError(message=message):
            return Finding("error", f"{where}: {message}", process.name, error.code)
        case _:
            text = str(error) or type(error).__name__
            return Finding("error", f"{where}: {type(error).__name__}: {text}", process.name, type(error).__name__)
