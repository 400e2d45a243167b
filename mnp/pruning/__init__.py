"""Pruning: rank the neurons of every maxout unit, remove the least relevant, retrain; then weights.

Decisions are functions on arrays; surgery applies them to a Network and returns a new one.

    relevance      rank the neurons of a unit                      (arrays only)
    neurons        which neurons stay                              (arrays only)
    weights        which weights stay: masks and schedules         (arrays only)
    splicing       masks under which pruned weights may return     (arrays only)
    surgery        measure a Network, prune it, mask it
    sensitivity    error against sparsity, one layer at a time
    splicing_sgd   the optimiser for splicing
    shrink         remove units and filters without outgoing weights
    filters        rank and remove plain filters and dense neurons, to compare with
    sizes          parameters, multiply-adds, bytes; every ratio with its formula

`mnp.sparse` stores pruned layers without their zeros.
"""

import importlib

from mnp.kernels.textbook import win_counts
from mnp.pruning.neurons import keep_ever_winning, keep_top, take_neurons, wins_lost
from mnp.pruning.relevance import (
    activation_sums,
    margin_sums,
    mean_activation,
    random_relevance,
    rank_neurons,
    reversed_counts,
    weight_norm,
)
from mnp.pruning.splicing import splice_mask, splice_thresholds, splice_thresholds_std
from mnp.pruning.surgery import (
    MEASURES,
    apply_masks,
    collect_win_counts,
    measure_relevance,
    prune_neurons,
    prune_round,
    register_ranking,
    weight_names,
    winners,
)
from mnp.pruning.weights import cubic_schedule, global_magnitude_masks, iterative_schedule, magnitude_mask

__all__ = [
    "MEASURES",
    "activation_sums",
    "apply_masks",
    "collect_win_counts",
    "compression",
    "count_sizes",
    "cubic_schedule",
    "filter_relevance",
    "global_magnitude_masks",
    "iterative_schedule",
    "keep_ever_winning",
    "keep_filters",
    "keep_top",
    "magnitude_mask",
    "margin_sums",
    "mean_activation",
    "measure_relevance",
    "prune_filters",
    "prune_neurons",
    "prune_round",
    "random_relevance",
    "rank_neurons",
    "reduction",
    "register_ranking",
    "remove_dead_units",
    "reversed_counts",
    "sensitivity_scan",
    "splice_mask",
    "splice_thresholds",
    "splice_thresholds_std",
    "take_neurons",
    "weight_names",
    "weight_norm",
    "win_counts",
    "winners",
    "wins_lost",
    "without_maxout",
]

LAZY = {  # not needed by a run before its end
    "sensitivity_scan": "sensitivity",
    "remove_dead_units": "shrink",
    **dict.fromkeys(("filter_relevance", "keep_filters", "prune_filters"), "filters"),
    **dict.fromkeys(("compression", "count_sizes", "reduction", "without_maxout"), "sizes"),
}


def __getattr__(name):
    if name in LAZY:
        return getattr(importlib.import_module(f"mnp.pruning.{LAZY[name]}"), name)
    raise AttributeError(f"module 'mnp.pruning' has no attribute {name!r}")
