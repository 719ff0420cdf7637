# SPDX-License-Identifier: GPL-2.0-only
"""Parameters from text: numbers, fractions, lists, sizes; and what is refused."""

from __future__ import annotations

import pytest

from pageblock_buddy import ConfigError, InputError
from pageblock_buddy.workload import WORKLOADS
from pageblock_buddy.workload.parameters import Parameters, parse_size
from pageblock_buddy.workload.purger import PurgerParameters


def test_the_defaults_of_purger_are_those_of_the_issue() -> None:
    p = PurgerParameters()
    assert (p.cpus, p.memory, p.purgers, p.live, p.local, p.bursts) == (32, 16384, 4, 0.25, 0.3, (1.0, 4.0))
    assert (p.warm_up, p.measured) == (3.0, 1.0)


def test_values_have_their_fields_type() -> None:
    p = PurgerParameters.from_text({"live": "1/8", "bursts": "0.25,1/2,4", "purgers": "2", "victims": "oldest"})
    assert (p.live, p.bursts, p.purgers, p.victims) == (0.125, (0.25, 0.5, 4.0), 2, "oldest")
    assert PurgerParameters.from_text({}) == PurgerParameters()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x": "1"}, "no parameter 'x'; there are: cpus, memory, seed, purgers,"),
        ({"limits": "1"}, "no parameter 'limits'"),
        ({"cpus": "1.5"}, "cpus: '1.5' is not a whole number"),
        ({"cpus": "1" * 5000}, "is not a whole number"),
        ({"live": "much"}, "live: 'much' is not a number or a fraction"),
        ({"live": "1/0"}, "live: '1/0' is not a number"),
        ({"live": "nan"}, "live nan is not 0.001..0.9"),
        ({"live": "1e999"}, "live inf is not 0.001..0.9"),
        ({"bursts": "1,,4"}, "bursts: '1,,4' is not a list of numbers"),
        ({"bursts": "1,-4"}, "bursts -4 is not 0.001..1024"),
        ({"cpus": "0"}, "cpus 0 is not 1..8192"),
        ({"seed": "-1"}, "seed -1 is not 0.."),
        ({"victims": "none"}, "victims 'none' is not one of: random, oldest"),
        ({"cpus": "4", "purgers": "4"}, "4 purgers on 4 cpus leave none that faults pages in"),
        ({"cpus": "4", "purgers": "5", "purgers_fault": "1"}, "5 purgers are more than 4 cpus"),
    ],
)
def test_what_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        PurgerParameters.from_text(settings)
    assert message in caught.value.message


def test_a_machine_that_cannot_be() -> None:
    """The configuration has limits of its own."""
    assert Parameters(cpus=1, memory=1).config().nr_cpus == 1
    with pytest.raises(ConfigError):
        Parameters(cpus=8192, memory=1 << 20).config().from_dict({})


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_number_has_limits_and_every_default_is_inside(name: str) -> None:
    parameters = WORKLOADS[name].parameters()
    for field, value in parameters.to_dict().items():
        assert isinstance(value, str) or field in {**parameters._LIMITS, **parameters.limits}
    assert WORKLOADS[name].parameters.from_text({"seed": "5"}).seed == 5


@pytest.mark.parametrize(("text", "mib"), [("512", 512), ("512M", 512), ("16G", 16384), ("1t", 1 << 20), ("0", 0)])
def test_sizes(text: str, mib: int) -> None:
    assert parse_size(text) == mib


@pytest.mark.parametrize("text", ["", "G", "1.5G", "16GB", "-1", "16 G", "MG", "1MG", "²", "9" * 40])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="is not a size such as 512M or 16G"):
        parse_size(text)
