# SPDX-License-Identifier: GPL-2.0-only
"""One call for any recording: picks the variant, finds the machine's topology, replays."""

from __future__ import annotations

import os
from collections.abc import Callable

from pageblock_buddy.errors import InputError
from pageblock_buddy.recording.machine_of import cpus_of, snapshot_zones, told_cpu_nodes
from pageblock_buddy.recording.reader import RecordingReader
from pageblock_buddy.recording.topology import busiest_nodes, first_guess
from pageblock_buddy.replay.natural import NaturalReplay
from pageblock_buddy.replay.result import ReplayResult
from pageblock_buddy.replay.scripted import ScriptedReplay
from pageblock_buddy.variants import Variant, get_variant, variant_for_kernel

Path = str | os.PathLike[str]
#: called now and then with (bytes read, bytes in all)
Progress = Callable[[int, int], None]


def choose_variant(reader: RecordingReader, name: str | None) -> Variant:
    """The variant asked for, or the one that is exact for the recording's kernel.

    Errors: UnknownVariant; InputError for a variant whose state cannot be a recorded one.
    """
    if name is None:
        return variant_for_kernel(reader.meta.kernel)
    variant = get_variant(name)
    if variant.calls.pcp_buddy is not None:
        raise InputError(f"{name} keeps other per-CPU lists than the recorded kernel: its PFNs cannot be compared")
    return variant


def open_replay(
    reader: RecordingReader, variant: Variant, cpu_node: tuple[int, ...] | None = None
) -> ScriptedReplay | NaturalReplay:
    """The replayer for this kind of recording.  Errors: InputError."""
    replayer = ScriptedReplay if reader.meta.scripted else NaturalReplay
    return replayer(reader, variant, cpu_node)


def _replay_once(
    path: Path, variant: str | None, cpu_node: tuple[int, ...] | None, keep_going: bool, progress: Progress | None
) -> ReplayResult:
    with RecordingReader(path) as reader:
        replay = open_replay(reader, choose_variant(reader, variant), cpu_node)
        for count, _ in enumerate(replay.run(keep_going=keep_going)):
            if progress is not None and count % 512 == 0:
                progress(replay.position(), reader.size)
        return replay.result


def find_cpu_nodes(path: Path, variant: str | None) -> tuple[int, ...] | None:
    """The node of each CPU for a recording that does not say it; None if there is nothing to find.

    The map is a property of the machine, like its zones, but the format does not carry it (decision
    D-07).  We start from CPUs numbered node by node, or from the nodes that most of each CPU's pages came from, and
    where an operation of a CPU disagrees, try that CPU on the other nodes, and keep what agrees longest.  For a
    natural run the nodes that the pages came from are all that we look at.  The model still answers every operation
    before it is compared.
    Errors: InputError.
    """
    with RecordingReader(path) as reader:
        first = next(iter(reader), None)
        if first is None:
            raise reader.error("the recording has no snapshot")
        try:
            zones = snapshot_zones(first[1])
            nr_cpus = len(cpus_of(zones))
            if told_cpu_nodes(reader.meta, nr_cpus) is not None:
                return None
        except InputError as error:
            raise reader.error(error.message, first[0]) from None
        guess = first_guess(zones, nr_cpus)
        nodes = sorted({zone["node"] for zone in zones} | set(guess))
        if len(nodes) == 1:
            return None
        busiest = busiest_nodes(reader, zones, guess)
        if not reader.meta.scripted:
            # Here a wrong node would pass for requests that preferred another one.
            return busiest
    best, reached, cpu = guess, *_agrees_until(path, variant, guess)
    tried = {guess, busiest}
    if cpu is not None and busiest != guess:
        line, at_cpu = _agrees_until(path, variant, busiest)
        if line > reached:
            best, reached, cpu = busiest, line, at_cpu
    while cpu is not None:
        better = None
        for node in nodes:
            candidate = (*best[:cpu], node, *best[cpu + 1 :])
            if candidate in tried:
                continue
            tried.add(candidate)
            line, at_cpu = _agrees_until(path, variant, candidate)
            if line > reached:
                better, reached, cpu = candidate, line, at_cpu
                break
        if better is None:
            return best
        best = better
    return best


def _agrees_until(path: Path, variant: str | None, cpu_node: tuple[int, ...]) -> tuple[int, int | None]:
    """(line, CPU) of the first difference with this map; CPU None: there is none that a CPU's node could explain."""
    with RecordingReader(path) as reader:
        replay = open_replay(reader, choose_variant(reader, variant), cpu_node)
        for _ in replay.run():
            pass
        if not replay.result.mismatches:
            return 1 << 62, None
        mismatch = replay.result.mismatches[0]
        _, _, cpu = mismatch.operation.rpartition("on CPU ")
        cpu = cpu.split()[0] if cpu else ""
        return mismatch.lineno, int(cpu) if cpu.isdigit() and int(cpu) < len(cpu_node) else None


def replay_recording(
    path: Path, *, variant: str | None = None, keep_going: bool = False, progress: Progress | None = None
) -> ReplayResult:
    """Replay a recording on a model and compare everything.

    ``variant`` None: the one for the recording's kernel.  Stops at the first mismatch, unless ``keep_going``.
    Errors: InputError for a file that cannot be used; UnknownVariant.
    """
    with RecordingReader(path) as reader:
        scripted = reader.meta.scripted
    if scripted:
        result = _replay_once(path, variant, None, keep_going, progress)
        if not result.mismatches:
            return result
    cpu_node = find_cpu_nodes(path, variant)
    if scripted and cpu_node is None:
        return result
    return _replay_once(path, variant, cpu_node, keep_going, progress)
