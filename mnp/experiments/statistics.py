"""Several seeds into one line: mean, standard deviation, and a paired 95 % interval. No SciPy needed."""

import math

from mnp.errors import MnpError


def t_probability(t, df):
    """P(|T| <= t) for Student's t with a whole number of degrees of freedom, by the finite sums.

        theta = atan(t / sqrt(df)),  c = cos(theta),  s = sin(theta)
        df even:  s * (1 + 1/2 c^2 + 1*3/(2*4) c^4 + ... + 1*3*..*(df-3)/(2*4*..*(df-2)) c^(df-2))
        df odd:   2/pi * (theta + s * (c + 2/3 c^3 + ... + 2*4*..*(df-3)/(3*5*..*(df-2)) c^(df-2)))

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    >>> round(t_probability(1.0, 1), 12), round(t_probability(12.706205, 1), 6)
    (0.5, 0.95)
    """
    theta = math.atan2(t, math.sqrt(df))
    s, c2 = math.sin(theta), math.cos(theta) ** 2
    even = df % 2 == 0
    term = 1.0 if even else math.cos(theta)
    total = term if df > 1 else 0.0
    for j in range(2 if even else 3, df, 2):
        term *= c2 * (j - 1) / j
        total += term
    return s * total if even else 2 / math.pi * (theta + s * total)


def t_quantile(df, confidence=0.95):
    """The t with P(|T| <= t) = confidence: half the width of an interval in standard errors.

    Parameters
    ----------
    df : int, 1 or more
        Number of pairs - 1.

    >>> round(t_quantile(4), 4), round(t_quantile(9), 4)
    (2.7764, 2.2622)
    """
    if df < 1 or not 0 < confidence < 1:
        raise MnpError(
            f"t_quantile(df={df}, confidence={confidence}): df must be 1 or more, confidence in (0, 1)"
        )
    low, high = 0.0, 1.0
    while t_probability(high, df) < confidence:
        high *= 2
    while low < (middle := (low + high) / 2) < high:  # until no float lies between
        low, high = (middle, high) if t_probability(middle, df) < confidence else (low, middle)
    return high


def mean_and_sd(values):
    """Mean and standard deviation (ddof = 1; None for a single value).

    >>> mean_and_sd([1.0, 2.0, 3.0])
    (2.0, 1.0)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def paired_interval(values, references, confidence=0.95):
    """The mean of the differences values[i] - references[i], and its t-interval.

        d[i] = values[i] - references[i],   mean(d) -+ t(n - 1) * sd(d) / sqrt(n)

    Returns
    -------
    change, low, high : float
        low and high are None for a single pair, which says nothing about spread.

    >>> change, low, high = paired_interval([1.0, 1.2, 1.1], [1.0, 1.0, 1.0])
    >>> round(change, 3), round(low, 3), round(high, 3)
    (0.1, -0.148, 0.348)
    """
    if len(values) != len(references) or not values:
        raise MnpError(f"{len(values)} values and {len(references)} references cannot be paired")
    mean, sd = mean_and_sd([v - r for v, r in zip(values, references, strict=True)])
    if sd is None:
        return mean, None, None
    half = t_quantile(len(values) - 1, confidence) * sd / math.sqrt(len(values))
    return mean, mean - half, mean + half


AVERAGED = ("params", "nonzero", "reduction", "reduction_without_maxout", "compression", "macs", "bytes")


def aggregate(rows_of_seeds):
    """One line a step over several seeds of one recipe.

    Parameters
    ----------
    rows_of_seeds : list of lists of row
        One list a seed, the same steps in each; row 0 is the unpruned network.

    Returns
    -------
    list of dict
        step, kind, arm, ranking, k, seeds; the mean of every size; error_before_mean, error_before_sd,
        error_mean, error_sd; change, change_low, change_high: the paired 95 % interval of the change in
        error (points) against the same seed's unpruned network.
    """
    lines = []
    for of_step in zip(*rows_of_seeds, strict=True):
        first = of_step[0]
        line = {name: first[name] for name in ("step", "kind", "arm", "ranking", "k")}
        line["seeds"] = len(of_step)
        line |= {name: mean_and_sd([row[name] for row in of_step])[0] for name in AVERAGED}
        for name in ("error_before", "error"):
            line[f"{name}_mean"], line[f"{name}_sd"] = mean_and_sd([row[name] for row in of_step])
        unpruned = [rows[0]["error"] for rows in rows_of_seeds]
        names = ("change", "change_low", "change_high")
        line |= dict(zip(names, paired_interval([row["error"] for row in of_step], unpruned), strict=True))
        lines.append(line)
    return lines
