"""What a difference is worth: standard errors, intervals, paired tests, corrections, minimum detectable differences.

Pure functions over numbers, no files. Items are exam questions; a value is an item's score in [0, 1] (1 right, 0 wrong).
Sources: Wilson 1927 (interval); McNemar 1947, exact form (two-sided sign test on the discordant items); Efron and
Tibshirani 1993, ch. 13 (percentile bootstrap); Holm 1979; Benjamini and Hochberg 1995; Connor 1987 (power of McNemar's test);
Fleiss, Levin and Paik 2003, eq. 4.14 without continuity correction (power for two proportions).
"""

import hashlib
import math
import typing

import numpy
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh", "none": None}


class Paired(typing.NamedTuple):
    """Two versions on the same n items; difference = second - first, in shares of 1."""
    n: int
    first: float
    second: float
    difference: float
    stderr: float  # of the difference, from the items' own differences; NaN for n = 1
    ci_low: float  # percentile bootstrap over items
    ci_high: float
    only_first: int  # items that the first has right (value above the other's) and the second has not
    only_second: int
    p: float  # exact McNemar, two-sided


def standard_error(values):
    """Sample standard deviation over sqrt(n), as lm-eval; NaN for one value."""
    values = numpy.asarray(values, dtype=float)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def wilson_interval(num_right, n, level=0.95):
    """(low, high) of a proportion."""
    low, high = proportion_confint(num_right, n, alpha=1 - level, method="wilson")
    return float(low), float(high)


def mcnemar_exact(only_first, only_second):
    """Two-sided p value of b against c discordant items under equal chances; 1 when there are none."""
    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def keyed_generator(seed, *purpose):
    """A random stream of its own for each (seed, purpose...), whatever was drawn before."""
    digest = hashlib.sha256("\0".join([str(seed), *map(str, purpose)]).encode()).digest()
    return numpy.random.Generator(numpy.random.PCG64(int.from_bytes(digest[:16], "little")))


def bootstrap_interval(differences, generator, resamples=10_000, level=0.95):
    """(low, high): percentile interval of the mean difference over resampled items.

    A resample of n items is a multinomial draw over the distinct differences, which is the same distribution as drawing the
    items one by one and does not depend on their order.
    """
    values, counts = numpy.unique(numpy.asarray(differences, dtype=float), return_counts=True)
    n = counts.sum()
    means = generator.multinomial(n, counts / n, size=resamples) @ values / n
    low, high = numpy.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare_paired(first, second, generator, resamples=10_000, level=0.95):
    """Paired of two equally long lists of item values in the same order."""
    first, second = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"not the same items: {first.shape} against {second.shape} values")
    differences = second - first
    only_first, only_second = int((differences < 0).sum()), int((differences > 0).sum())
    return Paired(len(first), float(first.mean()), float(second.mean()), float(differences.mean()), standard_error(differences),
                  *bootstrap_interval(differences, generator, resamples, level), only_first, only_second,
                  mcnemar_exact(only_first, only_second))


def corrected(p_values, method="holm"):
    """p values corrected for their number: `holm` (family-wise error), `bh` (false discovery rate) or `none`."""
    if method not in CORRECTIONS:
        raise ValueError(f"unknown correction {method!r}: {', '.join(CORRECTIONS)}")
    p_values = [float(p) for p in p_values]
    if CORRECTIONS[method] is None or not p_values:
        return p_values
    return [float(p) for p in multipletests(p_values, method=CORRECTIONS[method])[1]]


def _smallest(excess, highest):
    """Where `excess` crosses zero on (0, highest]; NaN where even `highest` stays below."""
    if highest <= 0 or excess(highest) < 0:
        return math.nan
    return float(optimize.brentq(excess, 1e-12, highest, xtol=1e-12))


def detectable_paired(n, discordant_share, alpha=0.05, power=0.8):
    """Smallest difference that McNemar's test on n items finds with `power`, given the share of items on which two versions differ.

    NaN: not even a difference as large as that share would be found.
    """
    z_alpha, z_power = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)

    def excess(difference):
        spread = math.sqrt(max(discordant_share - difference * difference, 0.0))
        return difference * math.sqrt(n) - z_alpha * math.sqrt(discordant_share) - z_power * spread

    return _smallest(excess, discordant_share)


def detectable_unpaired(n_first, n_second, first, alpha=0.05, power=0.8):
    """Smallest gain over the proportion `first` that two independent samples show with `power`; NaN: none up to 1 would be found."""
    z_alpha, z_power = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)

    def excess(difference):
        second = first + difference
        pooled = (n_first * first + n_second * second) / (n_first + n_second)
        null = math.sqrt(pooled * (1 - pooled) * (1 / n_first + 1 / n_second))
        alternative = math.sqrt(first * (1 - first) / n_first + second * (1 - second) / n_second)
        return difference - z_alpha * null - z_power * alternative

    return _smallest(excess, 1 - first)
