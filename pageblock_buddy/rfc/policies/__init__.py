# SPDX-License-Identifier: GPL-2.0-only
"""Policies: other answers to the RFC's open questions, each a few replaced entries of the tables.

``rfc+recover-cycle`` is rfc with one of them; several may be joined.
"""

from __future__ import annotations

from typing import Final

from pageblock_buddy.rfc.policies import (
    claim,
    clear_complete,
    drain_oldest,
    keep_alloc_factor,
    offline_keep,
    owned_per_type,
    recover_cap,
    recover_counter,
    recover_cycle,
    recover_enough,
    want_block,
    want_whole_blocks,
)
from pageblock_buddy.rfc.policies.policy import Policy

_ALL: Final = (
    recover_cycle.POLICY,
    recover_counter.POLICY,
    recover_cap.CAP_2X,
    recover_cap.CAP_4X,
    recover_enough.POLICY,
    owned_per_type.POLICY,
    claim.OWN_TYPE,
    claim.CMA,
    drain_oldest.POLICY,
    clear_complete.POLICY,
    offline_keep.POLICY,
    want_block.POLICY,
    want_whole_blocks.POLICY,
    keep_alloc_factor.POLICY,
)

POLICIES: Final[dict[str, Policy]] = {policy.name: policy for policy in _ALL}
