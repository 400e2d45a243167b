"""Face verification on arrays: do two feature vectors belong to the same person?

    distance of a pair  ->  threshold, chosen on training pairs  ->  accuracy on the test pairs

A pair is called "same" where its distance lies below the threshold. The true-positive rate is the share of
pairs of one person that are called same, the false-positive rate that of pairs of two people.
Protocol: Huang, Ramesh, Berg and Learned-Miller, *Labeled Faces in the Wild*, 2007.
"""

import math
from typing import NamedTuple

import numpy as np

from mnp.checkpoint import load_checkpoint, save_checkpoint, with_prefix
from mnp.errors import MnpError
from mnp.experiments.registry import CHECKPOINTS, PAIRS
from mnp.experiments.results import mean_sd_se, paired_interval

# --- distances ----------------------------------------------------------------------------------------


def cosine(a, b):
    """Cosine distance: one minus the cosine of the angle between two vectors.

        d[p] = 1 - sum_i a[p, i] b[p, i] / (|a[p]| |b[p]|)

    a, b (P, D) float -> d (P,) float64. A vector of zeros has no direction: its distance is 1.

    >>> cosine(np.array([[2.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 3.0]]))
    array([0., 1.])
    """
    a, b = _pairs_of_vectors(a, b)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 1.0 - np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)


def euclidean(a, b):
    """Euclidean distance of two vectors.

        d[p] = sqrt(sum_i (a[p, i] - b[p, i])^2)

    a, b (P, D) float -> d (P,) float64.

    >>> euclidean(np.array([[0.0, 3.0]]), np.array([[4.0, 0.0]]))
    array([5.])
    """
    a, b = _pairs_of_vectors(a, b)
    return np.linalg.norm(a - b, axis=1)


def bray_curtis(a, b):
    """Bray-Curtis dissimilarity.

        d[p] = sum_i |a[p, i] - b[p, i]| / sum_i |a[p, i] + b[p, i]|

    a, b (P, D) float -> d (P,) float64; in [0, 1] for features that are not negative. Where the lower
    sum is 0, the distance is 0 if the upper one is 0 too, else infinity.
    Source: Bray and Curtis, Ecological Monographs 27 (1957); the paper's distance.

    >>> bray_curtis(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 2.0], [3.0, 0.0]]))
    array([0., 1.])
    """
    a, b = _pairs_of_vectors(a, b)
    above, below = np.abs(a - b).sum(axis=1), np.abs(a + b).sum(axis=1)
    otherwise = np.where(above > 0, np.inf, 0.0)
    return np.divide(above, below, out=otherwise, where=below > 0)


DISTANCES = {"cosine": cosine, "euclidean": euclidean, "bray_curtis": bray_curtis}


def _pairs_of_vectors(a, b):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise MnpError(f"features {a.shape} and {b.shape} are no pairs: both must be (pairs, features)")
    return a, b


# --- threshold, accuracy, ROC -------------------------------------------------------------------------


class Roc(NamedTuple):
    """ROC curve: the point (0, 0), then one per distinct distance.

    false_positive, true_positive : (T,) float64, both rising from 0 to 1
    threshold : (T,) float64
        The rates are those of calling a pair same if its distance is <= threshold[t]; the first is -inf.
    """

    false_positive: np.ndarray
    true_positive: np.ndarray
    threshold: np.ndarray


def roc(distances, same):
    """Both rates at every threshold that makes a difference.

    Parameters
    ----------
    distances : (P,) float
    same : (P,) bool
        True where a pair shows one person; both kinds must occur.

    Equal distances fall on the same side of any threshold, so they are one step. Raises MnpError for
    NaN, for arrays that do not fit, and if a kind of pair is missing.

    >>> r = roc(np.array([0.1, 0.3, 0.3, 0.9]), np.array([True, True, False, False]))
    >>> r.false_positive, r.true_positive
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    distances, same = _checked(distances, same)
    if same.all() or not same.any():
        raise MnpError("an ROC needs pairs of one person and pairs of two: one kind is missing")
    order = np.argsort(distances, kind="stable")
    ranked, hits = distances[order], same[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of those with an equal distance
    true, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    return Roc(
        np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1]), np.append(-np.inf, ranked[last])
    )


def equal_error_rate(distances, same):
    """The equal error rate: where the false-positive rate equals the false-negative rate.

        false_positive(t) = 1 - true_positive(t),   on the straight line between two steps of the ROC

    distances (P,) float, same (P,) bool -> float in [0, 1].

    >>> equal_error_rate(np.array([0.1, 0.4, 0.3, 0.9]), np.array([True, True, False, False]))
    0.5
    """
    curve = roc(distances, same)
    gap = curve.false_positive + curve.true_positive - 1.0  # rises from -1 to 1
    i = int(np.argmax(gap >= 0))
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    before, after = curve.false_positive[i - 1], curve.false_positive[i]
    return float(before + share * (after - before))


def choose_threshold(distances, same):
    """The threshold of the highest balanced accuracy (both kinds of pairs have the same weight).

        argmax_t  true_positive(t) + 1 - false_positive(t)

    For training pairs only. The two kinds have the same weight because LFW's tests have equally many of
    both, while a training list may not. The threshold lies in the middle between two
    distances that occur; of equally good places, the one whose neighbours are farthest apart is taken,
    and of those the lowest.

    distances (P,) float, same (P,) bool -> float

    >>> choose_threshold(np.array([0.1, 0.2, 0.6, 0.7]), np.array([True, True, False, False]))
    0.4
    """
    curve = roc(distances, same)
    score = curve.true_positive - curve.false_positive
    best = np.flatnonzero(score >= score.max() - 1e-12)  # rounding must not tell equals apart
    at = curve.threshold[1:]  # a cut above at[t - 1] and below at[t], or outside them all
    below, above = np.append(at[0], at), np.append(at, np.nextafter(at[-1], np.inf))
    i = best[int(np.argmax((above - below)[best]))]
    middle = (below[i] + above[i]) / 2
    return float(middle if middle > below[i] else above[i])


def decide(distances, threshold):
    """True where a pair is predicted to be the same person: d < threshold."""
    return np.asarray(distances) < threshold


def accuracy(distances, same, threshold):
    """The share of pairs that are classified correctly.

    >>> accuracy(np.array([0.1, 0.9, 0.2]), np.array([True, True, False]), threshold=0.5)
    0.3333333333333333
    """
    distances, same = _checked(distances, same)
    return float(np.mean(decide(distances, threshold) == same))


def _checked(distances, same):
    distances, same = np.asarray(distances, dtype=np.float64), np.asarray(same)
    if distances.ndim != 1 or same.shape != distances.shape or same.dtype != np.bool_ or not len(same):
        raise MnpError(
            f"distances {distances.shape} and same {same.dtype} {same.shape}: give one distance and one "
            "bool per pair, for at least one pair"
        )
    if np.isnan(distances).any():
        raise MnpError(f"the distance of pair {int(np.argmax(np.isnan(distances)))} is nan")
    return distances, same


# --- significance -----------------------------------------------------------------------------------


def binomial_standard_error(share, n):
    """Standard error of a share of n independent pairs: sqrt(share (1 - share) / n).

    >>> binomial_standard_error(0.5, 100)
    0.05
    """
    return math.sqrt(share * (1.0 - share) / n)


def mcnemar(right_before, right_after):
    """McNemar's exact test of whether two networks are equally often correct.

    Of the pairs that only one of them got right, b by the first and c by the second, each is a fair coin
    if the networks are equally good:

        p = min(1, 2 * sum_{i <= min(b, c)} binomial(b + c, i) / 2^(b + c))

    Parameters
    ----------
    right_before, right_after : (P,) bool
        Whether each pair was classified correctly, the same pairs in the same order.

    Returns
    -------
    b, c : int
    p : float
        1 where they never disagree. Source: McNemar, Psychometrika 12 (1947), in its exact form.

    >>> mcnemar(np.array([True, True, True, False]), np.array([False, False, True, False]))
    (2, 0, 0.5)
    """
    before, after = np.asarray(right_before), np.asarray(right_after)
    if before.shape != after.shape or before.ndim != 1 or before.dtype != bool or after.dtype != bool:
        raise MnpError(f"McNemar compares two bool arrays of one shape, not {before.shape} and {after.shape}")
    b, c = int(np.count_nonzero(before & ~after)), int(np.count_nonzero(after & ~before))
    n = b + c
    tail = sum(math.comb(n, i) for i in range(min(b, c) + 1))  # whole numbers: exact for any n
    return b, c, float(min(1.0, 2 * tail / 2**n) if n else 1.0)


# --- pairs.npz ---------------------------------------------------------------------------------------
#
# out/pairs.npz holds the distances and labels of the test pairs of each round; with it a finished run can be
# drawn, compared and summed up without its checkpoints:
#
#     <label>/distances  (P,) float64, by the recipe's distance     <label>/same  (P,) bool
#     <label>/threshold  () float64     label: of a round, such as 00-train-k4; pairs in their list's order


def write_pairs(folder, labels):
    """Write the distances and labels of the test pairs of each round."""
    arrays = {}
    for label in labels:
        entries, meta = load_checkpoint(folder / CHECKPOINTS / f"{label}.npz")
        answer = with_prefix(entries, f"verification/{meta['row']['distance']}")
        arrays |= {f"{label}/{key}": answer[key] for key in ("distances", "same", "threshold")}
    save_checkpoint(folder / PAIRS, arrays, {"steps": list(labels)})


def pair_labels(path):
    """The labels of the rounds in a file of pairs."""
    labels = load_checkpoint(path)[1].get("steps")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise MnpError(f"{path}: does not say which rounds it is of")
    return labels


def read_pairs(path, label):
    """Distances, labels and threshold of one round: a dict of distances (P,), same (P,) and threshold ()."""
    pairs = with_prefix(load_checkpoint(path)[0], label)
    if not {"distances", "same", "threshold"} <= set(pairs) or len(pairs["distances"]) != len(pairs["same"]):
        raise MnpError(f"{path}: has no complete round {label!r}")
    return pairs


def called_same(pairs):
    """Which pairs were predicted to show the same person, (P,) bool; View 2 stores it."""
    if "called_same" in pairs:
        return pairs["called_same"]
    return decide(pairs["distances"], pairs["threshold"])


def against_unpruned(folders, rows, labels, rows_of_folds=None):
    """Compare each round with the unpruned network (round 0), on the same pairs.

    Parameters
    ----------
    folders : list of Path
        Run folders: one, or one per fold.
    rows : list of row
    labels : list of str
        Of the rounds.
    rows_of_folds : list of lists of row, optional
        For View 2: the rows of each fold.

    Returns
    -------
    list of dict, one per round
        step; lost, won: pairs that only the unpruned network, only this one got right; mcnemar_p: McNemar's
        exact test over all pairs; change: accuracy minus the unpruned one's, in points; with several folds
        change_se, change_low, change_high: paired over folds, 95 % t-interval; within_one_se: whether the
        accuracy lies at most one standard error of the unpruned accuracy below it.
    """

    def correct(label):
        pairs = [read_pairs(folder / PAIRS, label) for folder in folders]
        return np.concatenate([called_same(p) == p["same"] for p in pairs])

    unpruned, lines = correct(labels[0]), []
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        lost, won, p = mcnemar(unpruned, correct(label))
        line = {"step": index, "lost": lost, "won": won, "mcnemar_p": p}
        line["change"] = row["accuracy"] - rows[0]["accuracy"]
        if rows_of_folds is not None:
            before, after = ([fold[i]["accuracy"] for fold in rows_of_folds] for i in (0, index))
            line["change_se"] = mean_sd_se(np.subtract(after, before))[2]
            _, line["change_low"], line["change_high"] = paired_interval(after, before)
        line["within_one_se"] = bool(line["change"] >= -rows[0]["accuracy_se"])
        lines.append(line)
    return lines
