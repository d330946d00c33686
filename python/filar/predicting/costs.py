"""What a fork, a steal, a wake-up cost on this machine: the figures that bounds and simulation are fed with."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from filar._lib import check, ffi, lib
from filar.errors import InvalidArgumentError

__all__ = ["Costs", "measure_costs"]


@dataclass(frozen=True)
class Costs:
    """Times in ns, and a ratio. NaN: not known, as everything about a second worker is on one CPU."""

    fork_ns: float  # a fork and its join, stolen by nobody
    steal_ns: float  # from a fork to its first step on a worker that searches for work
    wake_ns: float  # the same on a worker that sleeps
    return_ns: float  # from the end of a stolen half to its forker, which sleeps, going on
    loop_ns: float  # from the call of a loop to the first step of a helper that slept
    call_ns: float  # an empty call from outside, there and back, to a worker that sleeps
    pair_speed: float = 1.0  # how fast a worker computes while another one does, of its speed alone

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0:
                raise InvalidArgumentError(f"{field.name} is {value:g}: no cost is negative")
        if self.pair_speed == 0:
            raise InvalidArgumentError("pair_speed is 0: nothing would ever end")

    @property
    def complete(self) -> bool:
        """Whether more than one worker can be predicted."""
        return not any(math.isnan(getattr(self, field.name)) for field in fields(self))


_known: dict[float, Costs] = {}


def measure_costs(seconds: float = 0.2) -> Costs:
    """Measured now, on two workers of their own; blocks so long. Once in a process for each `seconds`.

    Of the samples the tenth from the better end: what else runs on the machine only makes them worse. Where the
    other worker never came in time, as on one CPU or beside very busy programs, figures are NaN, and the next call
    tries again.
    """
    if seconds not in _known:
        found = ffi.new("filar_fork_costs *")
        check(lib.filar_measure_fork_costs(int(seconds * 1e9), found))
        values = {field.name: float(getattr(found, field.name)) for field in fields(Costs)}
        # Noise may make a difference negative, and one thread is not faster because another one runs.
        values["fork_ns"] = max(values["fork_ns"], 0.0)
        values["pair_speed"] = min(values["pair_speed"], 1.0) if values["pair_speed"] > 0 else math.nan
        costs = Costs(**values)
        if not costs.complete:
            return costs
        _known[seconds] = costs
    return _known[seconds]
