# SPDX-License-Identifier: GPL-2.0-only
"""The variants by name.

``linux-6.12`` is the baseline: Debian's 6.12.117.  A variant with owners may carry policies: ``rfc+recover-cycle``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pageblock_buddy.chunks import variant as chunks
from pageblock_buddy.errors import UnknownVariant
from pageblock_buddy.linux_6_12 import variant as linux_6_12
from pageblock_buddy.linux_7_0 import variant as linux_7_0
from pageblock_buddy.llist import variant as llist
from pageblock_buddy.mm.calls import Calls
from pageblock_buddy.pcp_merge import variant as pcp_merge
from pageblock_buddy.rfc import variant as rfc
from pageblock_buddy.rfc.policies import POLICIES
from pageblock_buddy.rfc_trylock import variant as rfc_trylock


@dataclass(frozen=True, slots=True)
class Variant:
    """One allocator: its entry points, what it builds on, and which kernels it stands for.

    ``kernels`` are version prefixes of recordings that it is exact for ("6.12"); none for what was only read or
    decided.
    """

    name: str
    summary: str
    calls: Calls
    builds_on: str | None
    kernels: tuple[str, ...]
    #: named invariants that it breaks by design, which System.validate() leaves out
    breaks: tuple[str, ...] = ()
    #: keys of a zone's snapshot that only some variants have, and this one has (docs/formats.md)
    state: tuple[str, ...] = ()


_STATE_7_0: Final = ("isolated", "trylock_free_pages")
_STATE_RFC: Final = (*_STATE_7_0, "pageblock_cpu", "pcp_buddy", "owned_blocks")

_ALL: Final = (
    Variant(
        name="linux-6.12",
        summary="stock Linux 6.12.117 as Debian builds it",
        calls=linux_6_12.CALLS,
        builds_on=None,
        kernels=("6.12",),
    ),
    Variant(
        name="linux-7.0",
        summary="Linux 7.0-rc, the base of the RFC; read, not recorded",
        calls=linux_7_0.CALLS,
        builds_on="linux-6.12",
        kernels=(),
        state=_STATE_7_0,
    ),
    Variant(
        name="rfc",
        summary="the RFC: per-CPU pageblock buddy allocator with owners",
        calls=rfc.CALLS,
        builds_on="linux-7.0",
        kernels=(),
        state=_STATE_RFC,
    ),
    Variant(
        name="rfc-trylock",
        summary="the RFC with [03/45]: the free path only tries pcp->lock",
        calls=rfc_trylock.CALLS,
        builds_on="rfc",
        kernels=(),
        state=_STATE_RFC,
    ),
    Variant(
        name="llist",
        summary="the RFC with [03/40]: remote frees on a lock-less list",
        calls=llist.CALLS,
        builds_on="rfc",
        kernels=(),
        state=(*_STATE_RFC, "free_llist"),
    ),
    Variant(
        name="chunks",
        summary="linux-7.0 with the RFC's phase 2 alone",
        calls=chunks.CALLS,
        builds_on="linux-7.0",
        kernels=(),
        state=_STATE_7_0,
    ),
    Variant(
        name="pcp-merge",
        summary="linux-7.0 that merges before it takes zone->lock, without owners",
        calls=pcp_merge.CALLS,
        builds_on="linux-7.0",
        kernels=(),
        state=_STATE_7_0,
    ),
)

VARIANTS: Final[dict[str, Variant]] = {variant.name: variant for variant in _ALL}
DEFAULT_VARIANT: Final = "linux-6.12"


def get_variant(name: str) -> Variant:
    """The variant of this name, with policies behind plus signs.  UnknownVariant if there is none."""
    base_name, *policies = name.split("+")
    base = VARIANTS.get(base_name)
    if base is None:
        raise UnknownVariant(f"no variant {base_name!r}; there are: {', '.join(VARIANTS)}", variant=name)
    if not policies:
        return base
    if base.calls.pcp_buddy is None:
        with_owners = ", ".join(variant.name for variant in VARIANTS.values() if variant.calls.pcp_buddy is not None)
        raise UnknownVariant(f"{base_name} takes no policies; these do: {with_owners}", variant=name)
    calls = base.calls
    replaced: dict[str, str] = {}
    for policy_name in policies:
        policy = POLICIES.get(policy_name)
        if policy is None:
            raise UnknownVariant(f"no policy {policy_name!r}; there are: {', '.join(POLICIES)}", variant=name)
        for entry in policy.entries:
            if entry in replaced:
                raise UnknownVariant(f"{replaced[entry]} and {policy_name} both replace {entry}()", variant=name)
            replaced[entry] = policy_name
        for entry in policy.wraps:
            if getattr(base.calls, entry) is not getattr(rfc.CALLS, entry):
                raise UnknownVariant(
                    f"{policy_name} is made for rfc's {entry}(), which {base_name} replaces", variant=name
                )
        calls = policy.applied(calls)
    summary = "; ".join([base.summary, *(POLICIES[policy_name].summary for policy_name in policies)])
    breaks = tuple(invariant for policy_name in policies for invariant in POLICIES[policy_name].breaks)
    renamed = {old: new for policy_name in policies for old, new in POLICIES[policy_name].state.items()}
    state = tuple(renamed.get(key, key) for key in base.state)
    return Variant(name=name, summary=summary, calls=calls, builds_on=base_name, kernels=(), breaks=breaks, state=state)


def variant_for_kernel(kernel: str) -> Variant:
    """The variant that is exact for a kernel version such as "6.12.117".  UnknownVariant if none is."""
    series = ".".join(kernel.split(".")[:2])
    for variant in VARIANTS.values():
        if series in variant.kernels:
            return variant
    raise UnknownVariant(f"no variant is exact for kernel {kernel!r}; there are: {', '.join(VARIANTS)}", kernel=kernel)
