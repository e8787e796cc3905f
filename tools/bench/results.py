# SPDX-License-Identifier: MIT
"""What a benchmark hands back, the statistics that all of them use, and the table."""
import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """One number. A row without a goal is there to judge the others by."""
    part: str
    what: str
    value: str
    goal: str = ""
    verdict: str = ""       # met, missed, unclear (too noisy to tell), skipped, failed
    note: str = ""
    numbers: dict = field(default_factory=dict)

    def as_json(self):
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """Some numbers of the same thing: the median, and between what half of them lie."""
    median: float
    low: float
    high: float
    n: int

    def text(self, digits=2, unit=""):
        return f"{self.median:.{digits}f}{unit} [{self.low:.{digits}f} {self.high:.{digits}f}]"


def spread(values):
    values = sorted(values)
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high, len(values))


def ratios(values, base):
    """Of numbers taken at the same time, so that what disturbed one has disturbed the other."""
    return spread([a / b for a, b in zip(values, base, strict=True)])


def at_most(value, limit):
    return "met" if value <= limit else "missed"


LEAST_NOISE = 0.01
TOO_NOISY = 0.10


def noise_between(again, base):
    """How far two lines that do not differ in anything typically lie apart."""
    return statistics.median(abs(a / b - 1) for a, b in zip(again, base, strict=True))


def ratio_at_most(ratio, limit, noise):
    """Noise of more than half of what the goal allows leaves the question open."""
    return "unclear" if noise > (limit - 1) / 2 else at_most(ratio.median, limit)


def same_within_noise(got, base, again):
    """Rates through vushim, rates of two direct lines: (ratio, noise, verdict).

    Being faster than direct is no fault. Noise beyond a tenth would hide what is looked for.
    """
    ratio = ratios(got, base)
    noise = max(noise_between(again, base), LEAST_NOISE)
    if noise > TOO_NOISY:
        return ratio, noise, "unclear"
    return ratio, noise, "met" if ratio.median >= 1 - noise else "missed"


def print_table(rows):
    lines = [("benchmark", "what", "goal", "measured", "", "how it was")]
    lines += [(r.part, r.what, r.goal, r.value, r.verdict, r.note) for r in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(6)]
    for n, line in enumerate(lines):
        print("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip())
        if n == 0:
            print("  ".join("-" * width for width in widths))
