# SPDX-License-Identifier: GPL-2.0-only
"""The variants by name.

``linux-6.12`` is the baseline: Debian's 6.12.117.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pageblock_buddy.errors import UnknownVariant
from pageblock_buddy.linux_6_12 import variant as linux_6_12
from pageblock_buddy.mm.calls import Calls


@dataclass(frozen=True, slots=True)
class Variant:
    """One allocator: its entry points, what it builds on, and which kernels it stands for.

    ``kernels`` are version prefixes of recordings that it is exact for ("6.12").
    """

    name: str
    summary: str
    calls: Calls
    builds_on: str | None
    kernels: tuple[str, ...]


_ALL: Final = (
    Variant(
        name="linux-6.12",
        summary="stock Linux 6.12.117 as Debian builds it",
        calls=linux_6_12.CALLS,
        builds_on=None,
        kernels=("6.12",),
    ),
)

VARIANTS: Final[dict[str, Variant]] = {variant.name: variant for variant in _ALL}
DEFAULT_VARIANT: Final = "linux-6.12"


def get_variant(name: str) -> Variant:
    """The variant of this name.  UnknownVariant if there is none."""
    try:
        return VARIANTS[name]
    except KeyError:
        raise UnknownVariant(f"no variant {name!r}; there are: {', '.join(VARIANTS)}", variant=name) from None


def variant_for_kernel(kernel: str) -> Variant:
    """The variant that is exact for a kernel version such as "6.12.117".  UnknownVariant if none is."""
    series = ".".join(kernel.split(".")[:2])
    for variant in VARIANTS.values():
        if series in variant.kernels:
            return variant
    raise UnknownVariant(f"no variant is exact for kernel {kernel!r}; there are: {', '.join(VARIANTS)}", kernel=kernel)
