# SPDX-License-Identifier: GPL-2.0-only
"""Typed errors with stable codes.

Every error says who is at fault and what to do next.  A failed allocation is
not an error: it is ``None``.  Compare ``code``, never the text.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Fault = Literal["caller", "config", "input", "model"]
JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class PageblockBuddyError(Exception):
    """Base of all errors of this package.

    ``code`` is stable; ``fault`` says whose mistake it is; ``hint`` says what
    to do next; ``details`` holds the numbers (PFNs, orders, pages) that the
    message names.
    """

    code: ClassVar[str] = "error"
    fault: ClassVar[Fault] = "model"
    hint: ClassVar[str] = ""

    def __init__(self, message: str, **details: JsonValue) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, JsonValue] = dict(sorted(details.items()))

    def to_dict(self) -> dict[str, JsonValue]:
        """The error as a JSON object: code, fault, message, hint, details."""
        return {
            "code": self.code,
            "fault": self.fault,
            "message": self.message,
            "hint": self.hint,
            "details": dict(self.details),
        }


class ConfigError(PageblockBuddyError):
    """A :class:`~pageblock_buddy.Config` that no machine could have."""

    code = "bad-config"
    fault = "config"
    hint = "correct the named field of Config"


class CallerError(PageblockBuddyError):
    """The program under test used the allocator wrongly."""

    code = "caller"
    fault = "caller"
    hint = "correct the calling program"


class BadArgument(CallerError):
    """An order, gfp mask, CPU, node or count that does not exist here."""

    code = "bad-argument"
    hint = "pass a value inside the range that the message names"


class BadFree(CallerError):
    """A free of a PFN that is not the first page of an allocation."""

    code = "bad-free"
    hint = "free the PFN that alloc_pages() returned"


class DoubleFree(CallerError):
    """A free of a page that is already free."""

    code = "double-free"
    hint = "free each allocation once"


class OrderMismatch(CallerError):
    """A free with another order than the allocation's."""

    code = "order-mismatch"
    hint = "free with the order of the allocation, or split_page() first"


class LockError(PageblockBuddyError):
    """A lock was used against the kernel's rules."""

    code = "lock"
    fault = "model"
    hint = "report this: a mirrored function broke the locking rules"


class SelfDeadlock(LockError):
    """A CPU would spin for ever on a lock that it holds."""

    code = "self-deadlock"


class LockNotHeld(LockError):
    """A lock that must be held here is not, or is held by another CPU."""

    code = "lock-not-held"


class GuardViolation(LockError):
    """A field was touched without the lock that guards it."""

    code = "guard"


class ModelBug(PageblockBuddyError):
    """An invariant of the model itself does not hold."""

    code = "model-bug"
    fault = "model"
    hint = "report this with the snapshot and the operation"


class InputError(PageblockBuddyError):
    """A file that cannot be used: not a recording, damaged, or of another version."""

    code = "bad-input"
    fault = "input"
    hint = "check the input; nothing was changed"


class ReplayDivergence(PageblockBuddyError):
    """A schedule no longer fits the code: some step is not the one that was recorded."""

    code = "replay-divergence"
    fault = "input"
    hint = "the code, the program or the variant has changed since: search again"


class ExplorationIncomplete(PageblockBuddyError):
    """A search hit a budget where its result needs all of it."""

    code = "incomplete"
    fault = "caller"
    hint = "raise the budget, or make the program smaller"


class UnknownVariant(InputError):
    """No variant of this name, or none for the kernel of a recording."""

    code = "unknown-variant"
    hint = "choose one of the variants that the message names"


class MissingExtra(PageblockBuddyError):
    """A command needs an optional dependency that is not installed."""

    code = "missing-extra"
    fault = "input"

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}': python -m pip install 'pageblock-buddy[{extra}]'",
            extra=extra,
        )
