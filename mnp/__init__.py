"""Maxout neuron pruning in NumPy: a readable reference implementation of Moya Rueda et al., GCPR 2017.

    import mnp

    data = mnp.load("digits")
    net = mnp.lenet5(8, 16, units=64, k=4, rng=0)
    mnp.fit(net, data, epochs=20, lr=0.01)
    for k in (3, 2, 1):
        net = mnp.prune_round(net, "fc3", data.train_images)      # count wins, rank, keep the best k
        mnp.fit(net, data, epochs=10, lr=0.01)
        print(k, net.count_params(), mnp.evaluate(net, data.test_images, data.test_labels).error_percent)

Names in this module
--------------------
data            load, Dataset
networks        lenet5, mlp, vgg16, Network (layers: mnp.nn)
training        fit, evaluate, SGD, learning_rate
neuron pruning  prune_round; one by one: collect_win_counts, rank_neurons, keep_top, prune_neurons
your own        run (a recipe, on your data), register_ranking, register_layer, output_gradient
filter pruning  filter_relevance, keep_filters, prune_filters: of plain filters and dense neurons
weight pruning  magnitude_mask, global_magnitude_masks, apply_masks, sparse_network
sizes           count_sizes
files           save_network, load_network
errors          MnpError, for every mistake in the input: one line that says what to do

Packages, in reading order
--------------------------
mnp.kernels     what a layer computes, as functions on arrays; mnp.kernels.textbook is the definition
mnp.nn          layers, networks, training
mnp.pruning     ranking, masks, surgery
mnp.sparse      pruned layers without their zeros
mnp.experiments, mnp.verify, mnp.data: the runs of `mnp run`, checks of other implementations, data sets

`help(mnp.lenet5)` and so on say more. Everything is imported when it is first used.
"""

import importlib

from mnp.errors import MnpError

__version__ = "0.2.0"

_NAMES = {
    "mnp.data": ("Dataset", "load"),
    "mnp.nn": (
        "SGD",
        "Network",
        "evaluate",
        "fit",
        "learning_rate",
        "lenet5",
        "mlp",
        "output_gradient",
        "register_layer",
        "vgg16",
    ),
    "mnp.pruning": (
        "apply_masks",
        "collect_win_counts",
        "count_sizes",
        "filter_relevance",
        "global_magnitude_masks",
        "keep_filters",
        "keep_top",
        "magnitude_mask",
        "prune_filters",
        "prune_neurons",
        "prune_round",
        "rank_neurons",
        "register_ranking",
    ),
    "mnp.runs": ("run",),
    "mnp.sparse": ("sparse_network",),
    "mnp.nn.checkpoint": ("load_network", "save_network"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["MnpError", "__version__", *_MODULE_OF]


def __getattr__(name):  # PEP 562: called for names that are not here yet
    if name in _MODULE_OF:
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value
    if not name.startswith("_"):  # mnp.nn and the other subpackages
        try:
            return importlib.import_module(f"mnp.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"mnp.{name}":
                raise
    raise AttributeError(f"module 'mnp' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    import pkgutil  # takes longer to import than all of this module

    packages = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return sorted({*globals(), *__all__, *packages} - {"importlib"})
