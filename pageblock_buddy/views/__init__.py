# SPDX-License-Identifier: GPL-2.0-only
r"""Views: the state as the kernel's own files in /proc show it, or as JSON.

>>> from pageblock_buddy import Config, System
>>> render(System.boot(Config.small(pages=64)).kernel, "buddyinfo")
'Node 0, zone    DMA32      0      0      0      0      4 \n'
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.errors import BadArgument
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.snapshot import canonical_json, zone_to_dict
from pageblock_buddy.views.buddyinfo import buddyinfo
from pageblock_buddy.views.pagetypeinfo import pagetypeinfo
from pageblock_buddy.views.zoneinfo import zoneinfo_pagesets

FORMATS: Final = ("buddyinfo", "pagetypeinfo", "zoneinfo-pagesets", "json")


def render(k: Kernel, fmt: str) -> str:
    """The machine's state as text; the last line ends with a newline.

    ``json`` is one line, ``{"zones":[...]}``, each zone as in a recording's snapshot.

    Errors: BadArgument for a format that is not in FORMATS.
    """
    if fmt == "buddyinfo":
        return buddyinfo(k)
    if fmt == "pagetypeinfo":
        return pagetypeinfo(k)
    if fmt == "zoneinfo-pagesets":
        return zoneinfo_pagesets(k)
    if fmt == "json":
        return canonical_json({"zones": [zone_to_dict(k, zone) for zone in k.zones]}) + "\n"
    raise BadArgument(f"no view {fmt!r}; there are: {', '.join(FORMATS)}", format=fmt)
