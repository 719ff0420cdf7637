# SPDX-License-Identifier: GPL-2.0-only
"""Parameters of a workload: frozen dataclasses that the command line can set field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Self

from pageblock_buddy.config import MAX_CPUS, PAGES_PER_MIB, Config
from pageblock_buddy.errors import InputError

#: 1 TiB: the model could boot more, but no run there would ever end.
MAX_MEMORY_MIB: Final = 1 << 20
_UNITS: Final = {"": 1, "M": 1, "G": 1 << 10, "T": 1 << 20}


def _shown(value: float) -> str:
    """A whole number in full, another one without noise."""
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 20 else f"{text[:20]}..."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every workload has; each sets its own defaults and adds fields.

    ``memory`` is MiB.  ``limits`` gives the smallest and the largest value of each field that is a number.
    """

    cpus: int = 8
    memory: int = 4096
    seed: int = 1

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    _LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "cpus": (1, MAX_CPUS),
        "memory": (1, MAX_MEMORY_MIB),
        "seed": (0, 1 << 63),
    }

    def __post_init__(self) -> None:
        for name, (low, high) in {**self._LIMITS, **self.limits}.items():
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if not low <= value <= high:
                    raise InputError(f"{name} {_shown(value)} is not {_shown(low)}..{_shown(high)}")

    def config(self) -> Config:
        """The machine: a PC with this much memory.  Errors: ConfigError."""
        return Config.pc(self.memory, nr_cpus=self.cpus)

    @property
    def pages(self) -> int:
        """All memory, in base pages."""
        return self.memory * PAGES_PER_MIB

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_text(cls, settings: Mapping[str, str]) -> Self:
        """The defaults with fields set from text: numbers, fractions (1/4), lists (1,4), words.

        Errors: InputError for a field that there is not, or a value that is none of its type.
        """
        defaults = cls()
        names = [field.name for field in dataclasses.fields(cls)]
        values: dict[str, Any] = {}
        for name, text in settings.items():
            if name not in names:
                raise InputError(f"no parameter {name!r}; there are: {', '.join(names)}")
            values[name] = _parse(name, text, getattr(defaults, name))
        return dataclasses.replace(defaults, **values)


def _parse(name: str, text: str, default: object) -> object:
    try:
        if isinstance(default, tuple):
            return tuple(_number(part) for part in text.split(","))
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return _number(text)
    except (ValueError, ArithmeticError):
        raise InputError(f"{name}: {text[:40]!r} is not {_KINDS[type(default)]}") from None
    return text


_KINDS: Final[dict[type, str]] = {
    int: "a whole number",
    float: "a number or a fraction such as 1/4",
    tuple: "a list of numbers such as 1,4",
}


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    return float(numerator) / float(denominator) if slash else float(text)


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """What ``--set`` was given, by name; the last of a name counts.  Errors: InputError."""
    given: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: not of the form NAME=VALUE")
        given[name] = value
    return given


def parse_size(text: str) -> int:
    """A memory size such as 512M, 16G or 1T, in MiB; a bare number is MiB.  Errors: InputError."""
    digits, unit = text.rstrip("MGTmgt"), text[len(text.rstrip("MGTmgt")) :].upper()
    if not digits.isascii() or not digits.isdigit() or unit not in _UNITS or len(digits) > 12:
        raise InputError(f"memory: {text[:40]!r} is not a size such as 512M or 16G")
    return int(digits) * _UNITS[unit]
