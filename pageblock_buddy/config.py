# SPDX-License-Identifier: GPL-2.0-only
"""Config: a machine to boot, with the kernel's defaults.

Everything that a tiny test zone needs is a parameter.  All sizes are in 4 KiB pages
and all addresses are PFNs unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Final

from pageblock_buddy import gfp
from pageblock_buddy.errors import ConfigError

#: PFNs stop here: 16 TiB of address space.  Columns are indexed by PFN.
MAX_PFN: Final = 1 << 32
MAX_CPUS: Final = 8192
MAX_NODES: Final = 1024
#: A CPU's counter difference is an s8.
MAX_STAT_THRESHOLD: Final = 125
#: Orders must fit the four bits that the page state keeps for them.
MAX_ORDER_LIMIT: Final = 15
PAGES_PER_MIB: Final = 256
#: First PFN of ZONE_DMA32 and of ZONE_NORMAL on x86-64 (LPA-1.0.12).
DMA_END_PFN: Final = 1 << 12
DMA32_END_PFN: Final = 1 << 20

PfnRange = tuple[int, int]
#: free_count is an s16 that may reach batch << pcp_batch_scale_max and a block more.
MAX_BATCH: Final = 500
_ZONE_LIMITS: Final = (
    ("present_pages", MAX_PFN),
    ("managed_pages", MAX_PFN),
    ("batch", MAX_BATCH),
    ("high_min", (1 << 31) - 1),
    ("high_max", (1 << 31) - 1),
)


def _require(ok: bool, message: str, **details: int | str) -> None:
    if not ok:
        raise ConfigError(message, **details)


def _require_types(config: object) -> None:
    """Whole numbers where numbers are wanted: a page count of 1.5 or "2" would fail much later."""
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if field.name == "zones":
            _require(all(isinstance(zone, ZoneConfig) for zone in value), "zones wants ZoneConfig objects")
        elif not _whole_numbers(value):
            raise ConfigError(f"{field.name}: {value!r} is not made of whole numbers")


def _whole_numbers(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_whole_numbers, value))
    return value is None or isinstance(value, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneConfig:
    """One zone of one node.

    Ranges are (first PFN, pages).  ``holes`` have no memory; ``reserved`` memory never reaches
    the allocator; ``cma`` blocks are of type CMA.  ``present_pages`` and ``managed_pages`` follow from the
    ranges unless given.  ``batch``, ``high_min``, ``high_max`` (pages) and ``watermark`` (min, low, high, promo in
    pages) override the kernel's formulas.
    """

    zone: int
    start_pfn: int
    spanned_pages: int
    node: int = 0
    holes: tuple[PfnRange, ...] = ()
    reserved: tuple[PfnRange, ...] = ()
    cma: tuple[PfnRange, ...] = ()
    present_pages: int | None = None
    managed_pages: int | None = None
    batch: int | None = None
    high_min: int | None = None
    high_max: int | None = None
    watermark: tuple[int, int, int, int] | None = None
    lowmem_reserve: tuple[int, ...] | None = None

    @property
    def end_pfn(self) -> int:
        """First PFN behind the zone."""
        return self.start_pfn + self.spanned_pages

    def check(self, block_pages: int) -> None:
        """Raise ConfigError for a zone that cannot be."""
        name = f"zone {self.zone} of node {self.node}"
        _require(0 <= self.zone < gfp.MAX_NR_ZONES, f"zone index {self.zone} is not 0..4")
        _require(0 <= self.node < MAX_NODES, f"{name}: node is not 0..{MAX_NODES - 1}")
        _require(
            0 <= self.start_pfn and 0 < self.spanned_pages and self.end_pfn <= MAX_PFN,
            f"{name}: start_pfn {self.start_pfn} and spanned_pages {self.spanned_pages} do not fit 0..{MAX_PFN}",
        )
        ranges = sorted(
            (first, pages, kind) for kind in ("holes", "reserved", "cma") for first, pages in getattr(self, kind)
        )
        end = self.start_pfn
        for first, pages, kind in ranges:
            _require(
                end <= first and pages > 0 and first + pages <= self.end_pfn,
                f"{name}: {kind} range ({first}, {pages}) leaves the zone, is empty, or overlaps another range",
            )
            _require(
                kind != "cma" or (first % block_pages == 0 and pages % block_pages == 0),
                f"{name}: cma range ({first}, {pages}) is not whole pageblocks of {block_pages} pages",
            )
            end = first + pages
        for limit, largest in _ZONE_LIMITS:
            value = getattr(self, limit)
            _require(value is None or 0 <= value <= largest, f"{name}: {limit} {value} is not 0..{largest}")
        _require(self.batch != 0, f"{name}: batch must be at least 1")
        if self.watermark is not None:
            _require(
                len(self.watermark) == gfp.NR_WMARK and all(0 <= w < 1 << 62 for w in self.watermark),
                f"{name}: watermark wants four page counts (min, low, high, promo)",
            )
        if self.lowmem_reserve is not None:
            _require(
                len(self.lowmem_reserve) == gfp.MAX_NR_ZONES and all(r >= 0 for r in self.lowmem_reserve),
                f"{name}: lowmem_reserve wants {gfp.MAX_NR_ZONES} page counts",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A machine.

    ``zones`` must not overlap.  ``cpu_node[c]`` is the node of CPU c
    (default: all on node 0).  ``node_distance[a][b]`` as in SLIT (default 10 and 20).
    ``min_free_kbytes`` None means the kernel's formula, raised as a running khugepaged does if ``khugepaged``.
    ``llc_pages_per_cpu`` is the last-level cache's share of a CPU in pages; it decides
    FREE_HIGH_BATCH.  ``defrag_mode`` is the sysctl of 6.15 and later; ``preempt_rt`` only decides that a trylock-only
    operation in hardirq or NMI does not try pcp->lock (decision D-09).  ``vm_stat_threshold`` None means the kernel's
    formula.  ``page_group_by_mobility_disabled`` is a parameter and not the kernel's formula, which would set it on
    every tiny test zone (decision D-05).  ``memcg_kmem``: __GFP_ACCOUNT requests are charged, so never go in bulk.
    ``nr_online_nodes`` 0 means the nodes that have memory or CPUs.
    """

    zones: tuple[ZoneConfig, ...]
    nr_cpus: int = 1
    cpu_node: tuple[int, ...] = ()
    node_distance: tuple[tuple[int, ...], ...] | None = None
    pageblock_order: int = gfp.HUGETLB_PAGE_ORDER
    max_page_order: int = gfp.MAX_PAGE_ORDER
    thp: bool = True
    pcp_batch_scale_max: int = gfp.CONFIG_PCP_BATCH_SCALE_MAX
    percpu_pagelist_high_fraction: int = 0
    watermark_boost_factor: int = 15000
    watermark_scale_factor: int = 10
    min_free_kbytes: int | None = None
    khugepaged: bool = False
    lowmem_reserve_ratio: tuple[int, ...] = (256, 256, 32, 0, 0)
    llc_pages_per_cpu: int = 0
    vm_stat_threshold: int | None = None
    page_group_by_mobility_disabled: bool = False
    memcg_kmem: bool = False
    nr_online_nodes: int = 0
    defrag_mode: bool = False
    preempt_rt: bool = False

    def __post_init__(self) -> None:
        _require_types(self)
        for zone in self.zones:
            _require_types(zone)
        _require(bool(self.zones), "a machine needs at least one zone")
        _require(1 <= self.nr_cpus <= MAX_CPUS, f"nr_cpus {self.nr_cpus} is not 1..{MAX_CPUS}")
        _require(
            0 <= self.pageblock_order <= self.max_page_order <= MAX_ORDER_LIMIT,
            f"need 0 <= pageblock_order ({self.pageblock_order}) <= max_page_order ({self.max_page_order}) "
            f"<= {MAX_ORDER_LIMIT}",
        )
        if not self.cpu_node:
            object.__setattr__(self, "cpu_node", (0,) * self.nr_cpus)
        _require(len(self.cpu_node) == self.nr_cpus, "cpu_node wants one node for each CPU")
        _require(all(0 <= n < MAX_NODES for n in self.cpu_node), f"cpu_node entries are not 0..{MAX_NODES - 1}")
        _require(
            self.vm_stat_threshold is None or 0 <= self.vm_stat_threshold <= MAX_STAT_THRESHOLD,
            f"vm_stat_threshold {self.vm_stat_threshold} is not 0..{MAX_STAT_THRESHOLD}",
        )
        _require(0 <= self.pcp_batch_scale_max <= 6, "pcp_batch_scale_max is not 0..6")
        _require(
            self.percpu_pagelist_high_fraction == 0 or self.percpu_pagelist_high_fraction >= 8,
            "percpu_pagelist_high_fraction is 0 or at least 8",
        )
        for name in ("watermark_boost_factor", "watermark_scale_factor", "llc_pages_per_cpu"):
            _require(0 <= getattr(self, name) < 1 << 31, f"{name} is not 0..2^31-1")
        _require(
            self.min_free_kbytes is None or 0 <= self.min_free_kbytes < 1 << 31, "min_free_kbytes is not 0..2^31-1"
        )
        _require(len(self.lowmem_reserve_ratio) == gfp.MAX_NR_ZONES, "lowmem_reserve_ratio wants five ratios")
        # for_each_zone() goes node by node: keep the zones in that order.
        object.__setattr__(self, "zones", tuple(sorted(self.zones, key=lambda z: (z.node, z.zone))))
        for zone, following in pairwise(self.zones):
            _require(
                (zone.node, zone.zone) != (following.node, following.zone),
                f"zone {zone.zone} of node {zone.node} is given twice",
            )
        for zone in self.zones:
            zone.check(1 << self.pageblock_order)
        for zone, following in pairwise(sorted(self.zones, key=lambda z: z.start_pfn)):
            _require(zone.end_pfn <= following.start_pfn, f"zones overlap at pfn {following.start_pfn}")
        nodes = self.node_ids
        if self.nr_online_nodes == 0:
            object.__setattr__(self, "nr_online_nodes", len(nodes))
        if self.node_distance is not None:
            size = nodes[-1] + 1
            _require(
                len(self.node_distance) == size and all(len(row) == size for row in self.node_distance),
                f"node_distance wants {size} rows of {size} distances",
            )

    @property
    def node_ids(self) -> tuple[int, ...]:
        """The nodes that have memory or CPUs, ascending."""
        return tuple(sorted({z.node for z in self.zones} | set(self.cpu_node)))

    @property
    def end_pfn(self) -> int:
        """First PFN behind the last zone."""
        return max(zone.end_pfn for zone in self.zones)

    @classmethod
    def small(cls, pages: int = 64, *, zone: int = gfp.ZONE_DMA32, **overrides: Any) -> Config:
        """A single zone of ``pages`` pages from PFN 0, for tests: pageblocks of 8 pages, largest order 4,
        batch 2, high 8, watermarks 0.  ``overrides`` are fields of Config or ZoneConfig."""
        zone_fields: dict[str, Any] = {"batch": 2, "high_min": 8, "high_max": 8, "watermark": (0, 0, 0, 0)}
        own = {name: overrides.pop(name) for name in list(overrides) if name in ZoneConfig.__dataclass_fields__}
        zone_fields.update(own)
        zone_config = ZoneConfig(zone=zone, start_pfn=0, spanned_pages=pages, **zone_fields)
        fields: dict[str, Any] = {"pageblock_order": 3, "max_page_order": 4, "watermark_boost_factor": 0}
        fields.update(overrides)
        return cls(zones=(zone_config,), **fields)

    @classmethod
    def pc(cls, mib: int | Sequence[int], **overrides: Any) -> Config:
        """An x86-64 machine of ``mib`` MiB (a number, or one number per node), split into DMA, DMA32
        and NORMAL where PFNs 4096 and 1048576 divide them.  No hole below 4 GiB (decision D-03)."""
        sizes = (mib,) if isinstance(mib, int) else tuple(mib)
        _require(bool(sizes) and all(m > 0 for m in sizes), "memory sizes are positive numbers of MiB")
        zones: list[ZoneConfig] = []
        start = 0
        for node, size in enumerate(sizes):
            end = start + size * PAGES_PER_MIB
            for zone, low, high in (
                (gfp.ZONE_DMA, 0, DMA_END_PFN),
                (gfp.ZONE_DMA32, DMA_END_PFN, DMA32_END_PFN),
                (gfp.ZONE_NORMAL, DMA32_END_PFN, MAX_PFN),
            ):
                first, last = max(start, low, 1), min(end, high)
                if first < last:
                    zones.append(ZoneConfig(zone=zone, node=node, start_pfn=first, spanned_pages=last - first))
            start = end
        return cls(zones=tuple(zones), **overrides)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """The inverse of to_dict().  ConfigError for anything else."""
        try:
            fields = dict(data)
            zones = tuple(ZoneConfig(**{k: _as_tuple(v) for k, v in z.items()}) for z in fields.pop("zones"))
            return cls(zones=zones, **{k: _as_tuple(v) for k, v in fields.items()})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ConfigError(f"not a configuration: {error}") from None


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, (list, tuple)) else value
