# SPDX-License-Identifier: GPL-2.0-only
"""Per-CPU page lists: their index, their limits, and how the limits tune themselves.

``high`` is how many pages a CPU may keep of a zone.  It starts at 0, grows with refills and
with bulk frees, and shrinks when memory gets short; batch grows with every
refill that follows another (alloc_factor) and every flush that follows another (free_count).

Kernel: mm/page_alloc.c (6.12.117)
"""

from __future__ import annotations

from pageblock_buddy import gfp
from pageblock_buddy.mm.kernel import Kernel
from pageblock_buddy.mm.mmzone import PerCpuPages, Zone, wmark_pages

#: lists for orders 0..3; two more for huge pages
NR_LOWORDER_PCP_LISTS = gfp.MIGRATE_PCPTYPES * (gfp.PAGE_ALLOC_COSTLY_ORDER + 1)
MIN_PERCPU_PAGELIST_HIGH_FRACTION = 8

# --- index -------------------------------------------------------------------------------------


def nr_pcp_lists(k: Kernel) -> int:
    """How many lists a per-CPU pageset has.

    Kernel:  NR_PCP_LISTS, include/linux/mmzone.h; LPA-8.1.1
    Status:  source
    """
    return NR_LOWORDER_PCP_LISTS + (2 if k.hpage_order is not None else 0)  # LPA-8.1.1


def pcp_allowed_order(k: Kernel, order: int) -> bool:
    """Whether blocks of this order are kept on per-CPU lists.

    Kernel:  pcp_allowed_order(), mm/page_alloc.c; LPA-8.1.3
    Status:  source
    """
    return order <= gfp.PAGE_ALLOC_COSTLY_ORDER or order == k.hpage_order  # LPA-8.1.3


def order_to_pindex(k: Kernel, mt: int, order: int) -> int:
    """The list of a type (0..2) and order.

    Kernel:  order_to_pindex(), mm/page_alloc.c; LPA-8.1.2
    Status:  source
    """
    if order > gfp.PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + (mt == gfp.MIGRATE_MOVABLE)  # LPA-8.1.2
    return gfp.MIGRATE_PCPTYPES * order + mt  # LPA-8.1.2


def pindex_to_order(k: Kernel, pindex: int) -> int:
    """The order of the blocks on a list.

    Kernel:  pindex_to_order(), mm/page_alloc.c; LPA-8.1.2
    Status:  source
    """
    if pindex >= NR_LOWORDER_PCP_LISTS:
        assert k.hpage_order is not None
        return k.hpage_order  # LPA-8.1.2
    return pindex // gfp.MIGRATE_PCPTYPES  # LPA-8.1.2


# --- the kernel's clamp ------------------------------------------------------------------------


def clamp(value: int, low: int, high: int) -> int:
    """``value`` inside low..high; the upper limit is looked at first.

    The order shows when ``low`` is above ``high``, which happens: high_min follows the low watermark and can
    exceed high_max.  A value below high then becomes low, one at or above it becomes high.

    Kernel:  __clamp(), include/linux/minmax.h; LPA-8.3; LPA-8.3.1, LPA-8.4.18, LPA-8.4.23, LPA-8.4.25
    Status:  source
    """
    if value >= high:
        return high
    return low if value <= low else value


# --- how many to take --------------------------------------------------------------------------


def nr_pcp_alloc(k: Kernel, pcp: PerCpuPages, zone: Zone, order: int) -> int:
    """How many blocks of this order a refill asks for; raises pcp->high.

    Kernel:  nr_pcp_alloc(), mm/page_alloc.c; LPA-8.3
    Status:  source
    Locks:   holds pcp.lock
    Units:   the result counts blocks of 2^order pages
    """
    base_batch = pcp.batch
    high_min, high_max = pcp.high_min, pcp.high_max
    high = pcp.high = clamp(pcp.high, high_min, high_max)  # LPA-8.3.1
    if high < base_batch:
        # lists disabled, or boot pageset
        return 1  # LPA-8.3.2
    batch = base_batch if order else base_batch << pcp.alloc_factor  # LPA-8.3.3
    if high_min != high_max and not zone.flags & gfp.ZONE_BELOW_HIGH:
        high = pcp.high = min(high + batch, high_max)  # LPA-8.3.4
    if not order:
        max_nr_alloc = max(high - pcp.count - base_batch, base_batch)  # LPA-8.3.5
        # Refills that follow each other without a free in between double, up to a limit.
        if batch <= max_nr_alloc and pcp.alloc_factor < k.config.pcp_batch_scale_max:
            pcp.alloc_factor += 1  # LPA-8.3.6
        batch = min(batch, max_nr_alloc)  # LPA-8.3.7
    if batch > 1:
        batch = max(batch >> order, 2)  # LPA-8.3.8
    return batch


# --- how many to keep, how many to flush -------------------------------------------------------


def nr_pcp_high(k: Kernel, pcp: PerCpuPages, zone: Zone, free_high: bool) -> int:
    """Above how many pages a free flushes; tunes pcp->high.

    Returns the high that was in force before the tuning.

    Kernel:  nr_pcp_high(), mm/page_alloc.c; LPA-8.4
    Status:  source
    Locks:   holds pcp.lock
    Units:   pages
    """
    batch, high_min, high_max = pcp.batch, pcp.high_min, pcp.high_max
    high = pcp.high = clamp(pcp.high, high_min, high_max)  # LPA-8.4.18
    if not high:
        return 0  # LPA-8.4.18
    if free_high:
        pcp.high = max(high - (batch << k.config.pcp_batch_scale_max), high_min)  # LPA-8.4.19
        return 0
    if zone.flags & gfp.ZONE_RECLAIM_ACTIVE:
        free_count = max(pcp.free_count, batch)
        pcp.high = max(high - free_count, high_min)  # LPA-8.4.20
        return min(batch << 2, pcp.high)
    if high_min == high_max:
        return high  # LPA-8.4.21
    if zone.flags & gfp.ZONE_BELOW_HIGH:
        free_count = max(pcp.free_count, batch)
        pcp.high = max(high - free_count, high_min)  # LPA-8.4.22
        return max(pcp.count, high_min)
    if pcp.count >= high:
        need_high = pcp.free_count + batch
        # Kept pages that are soon to be flushed again only cost: keep more from now on.
        if pcp.high < need_high:
            pcp.high = clamp(need_high, high_min, high_max)  # LPA-8.4.23
    return high  # LPA-8.4.24


def nr_pcp_free(k: Kernel, pcp: PerCpuPages, batch: int, high: int, free_high: bool) -> int:
    """How many pages a flush sends to the zone.

    Kernel:  nr_pcp_free(), mm/page_alloc.c; LPA-8.4.25
    Status:  source
    Locks:   holds pcp.lock
    Units:   pages
    """
    if free_high:
        return min(pcp.count, batch << k.config.pcp_batch_scale_max)  # LPA-8.4.25
    if high < batch:
        return 1  # LPA-8.4.25
    min_nr_free, max_nr_free = batch, high - batch
    return clamp(pcp.free_count, min_nr_free, max_nr_free)  # LPA-8.4.25


# --- limits ------------------------------------------------------------------------------------


def zone_batchsize(zone: Zone) -> int:
    """The pages a refill or flush starts with.

    Kernel:  zone_batchsize(), mm/page_alloc.c; LPA-8.7.1, LPA-8.7.2
    Status:  source
    """
    batch = min(zone.managed_pages >> 12, 64)  # LPA-8.7.1, LPA-8.7.2
    if batch <= 1:
        return 1
    batch += batch // 2
    return (1 << (batch.bit_length() - 1)) - 1


def zone_highsize(k: Kernel, zone: Zone, batch: int, cpu_online: int, high_fraction: int) -> int:
    """A CPU's share of the zone's low watermark, or of a fraction of the zone.

    ``cpu_online`` is 1 while a CPU comes online, which is not in its node's mask yet.

    Kernel:  zone_highsize(), mm/page_alloc.c; LPA-8.7
    Status:  source
    Units:   pages
    """
    total = zone.managed_pages // high_fraction if high_fraction else wmark_pages(zone, gfp.WMARK_LOW)
    online = k.machine.online
    cpus_of_node = sum(1 for cpu, node in enumerate(k.config.cpu_node) if node == zone.node and online[cpu])
    cpus_of_node += cpu_online  # LPA-8.7.3
    return max(total // (cpus_of_node or k.machine.num_online_cpus()), batch << 2)


def _zone_set_pageset_high_and_batch(zone: Zone, high_min: int, high_max: int, batch: int) -> None:
    """Give every CPU's pageset of the zone these limits; pcp->high follows at its next use.

    Kernel:  __zone_set_pageset_high_and_batch(), mm/page_alloc.c; LPA-8.7.10
    Status:  source
    """
    for pcp in zone.per_cpu_pageset:
        pcp.batch = batch
        pcp.high_min = high_min
        pcp.high_max = high_max  # LPA-8.7.10


def zone_set_pageset_high_and_batch(k: Kernel, zone: Zone, cpu_online: int) -> None:
    """Compute batch, high_min and high_max for every CPU's pageset of the zone.

    Kernel:  zone_set_pageset_high_and_batch(), zone_pcp_update_cacheinfo(), mm/page_alloc.c; LPA-8.7
    Status:  source
    Locks:   takes pcp.lock
    Points:  pcp.lock lock, unlock
    """
    zone_config = next(c for c in k.config.zones if c.node == zone.node and c.zone == zone.idx)
    batch = zone_config.batch if zone_config.batch is not None else zone_batchsize(zone)
    fraction = k.config.percpu_pagelist_high_fraction
    if fraction:
        high_min = high_max = zone_highsize(k, zone, batch, cpu_online, fraction)  # LPA-8.7.6
    else:
        high_min = zone_highsize(k, zone, batch, cpu_online, 0)  # LPA-8.7.4, LPA-8.7.8
        high_max = zone_highsize(k, zone, batch, cpu_online, MIN_PERCPU_PAGELIST_HIGH_FRACTION)  # LPA-8.7.5
    if zone_config.high_min is not None:
        high_min = zone_config.high_min
    if zone_config.high_max is not None:
        high_max = zone_config.high_max
    zone.pageset_high_min, zone.pageset_high_max, zone.pageset_batch = high_min, high_max, batch
    _zone_set_pageset_high_and_batch(zone, high_min, high_max, batch)
    for pcp in zone.per_cpu_pageset:
        pcp.lock.lock()
        # A last-level cache share of more than three batches lets a high-order flush wait.
        if k.config.llc_pages_per_cpu > 3 * batch:
            pcp.flags |= gfp.PCPF_FREE_HIGH_BATCH  # LPA-8.7.12
        else:
            pcp.flags &= ~gfp.PCPF_FREE_HIGH_BATCH  # LPA-8.7.12
        pcp.lock.unlock()


def zone_pcp_disable(k: Kernel, zone: Zone) -> None:
    """Empty the per-CPU lists of a zone and keep them empty, as memory offlining does.

    Kernel:  zone_pcp_disable(), mm/page_alloc.c; LPA-8.7.13
    Status:  source
    Locks:   takes pcp.lock, zone.lock
    """
    _zone_set_pageset_high_and_batch(zone, 0, 0, 1)  # LPA-8.7.13
    for cpu in range(k.machine.nr_cpus):
        k.calls.drain_pages_zone(k, cpu, zone)


def zone_pcp_enable(zone: Zone) -> None:
    """The inverse of zone_pcp_disable(): the limits as they were.

    Kernel:  zone_pcp_enable(), mm/page_alloc.c; LPA-8.7.13
    Status:  source
    """
    _zone_set_pageset_high_and_batch(zone, zone.pageset_high_min, zone.pageset_high_max, zone.pageset_batch)
