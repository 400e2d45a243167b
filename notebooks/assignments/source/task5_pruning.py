"""Task 5: remove neurons, mask weights."""

import numpy as np
import pytest

# %% [markdown]
# # Task 5: remove neurons, mask weights
#
# `keep` names the neurons that stay; here they are taken out. Two kinds of pruning differ in what is left:
#
# * **neuron pruning** takes whole neurons out. The arrays get smaller, and so do memory and time.
# * **weight pruning** sets single weights to zero. The arrays keep their shape; a *mask* remembers which
#   weights are zero, because the next training step would change them again.
#
# **You fill:** [`task5_pruning.py`](task5_pruning.py), five short functions, NumPy only.
# **Worth:** 20 points. **Time:** about one hour.
#
# A network is a plain dict here, as in a PyTorch `state_dict`: `"fc3.weight"`, `"fc3.bias"`, and so on.
#
# | array | shape | meaning |
# |---|---|---|
# | `weight`, `bias` | (units, k, in), (units, k) | a maxout layer |
# | `keep` | (units, n_keep) int | the neurons that stay, ascending; given |
# | `mask` | bool, shape of its weight | True = kept |

# %% [markdown]
# ## Take the neurons that stay
#
# $$\mathrm{weight}'_{u,m,i} = \mathrm{weight}_{u,\,\mathrm{keep}_{u,m},\,i} \qquad
# \mathrm{bias}'_{u,m} = \mathrm{bias}_{u,\,\mathrm{keep}_{u,m}}$$
#
# Each unit has its own list. The code published with the paper did this on a flattened array and wrote to
# row `unit + neuron` where row `unit * n_keep + neuron` was meant: most rows of the small layer stayed
# zero, and the network had to learn them again. With three axes there is no such row to get wrong;
# `np.take_along_axis` is made for it.

# %% [code]
# import numpy as np
#
# weight = np.arange(12.0).reshape(2, 3, 2)  # two units, k = 3, two inputs
# bias = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
# keep = np.array([[0, 2], [1, 2]])
# %load_ext autoreload
# %autoreload 2
# import task5_pruning as mine
#
# mine.take_neurons(weight, bias, keep)

# %% [markdown]
# ## Prune a network
#
# `prune_neurons(net, name, keep)` gives a **new** dict with the one layer replaced; the old network stays
# as it was, so that you can compare the two. When a single neuron per unit is left there is no competition
# any more: the layer becomes an ordinary dense layer, weight (units, in) and bias (units,).

# %% [code]
# net = {"fc3.weight": weight, "fc3.bias": bias, "fc4.weight": np.ones((4, 2)), "fc4.bias": np.zeros(4)}
# small = mine.prune_neurons(net, "fc3", np.array([[2], [0]]))
# print({name: array.shape for name, array in small.items()})

# %% [markdown]
# ## Mask single weights
#
# `magnitude_mask` keeps the largest weights by absolute value. `sparsity` is zeros / **all** weights, not
# "of what is left"; the count is exact:
#
# $$\mathrm{zeros} = \lfloor \mathrm{sparsity} \cdot \mathrm{size} + 1/2 \rfloor$$
#
# Comparing with a threshold does not give an exact count when magnitudes tie: sort (stably) and count
# instead. In a tie the lowest flat index is kept. With an earlier `mask`, what was gone stays gone: those
# weights are among the zeros, whatever value stands there. If the earlier mask has more zeros than asked
# for, it comes back as it is.

# %% [code]
# mine.magnitude_mask(np.array([0.5, -2.0, 0.5, 1.0]), sparsity=0.5)

# %% [markdown]
# ## Keep zeros zero
#
# Momentum keeps past gradients, and weight decay acts on every weight: a weight that was set
# to zero once moves again in the next step. So the mask works **after** every step, and on the velocity too:
#
# $$v \leftarrow \mu\,v + g + \lambda\,w \qquad w \leftarrow w - \eta\,v \qquad
# \text{where the mask is False: } w = v = 0$$
#
# `sgd_step` is the one function here that changes its arguments: `w -= ...` changes the array, whereas
# `w = w - ...` makes a new one that the caller never sees.

# %% [code]
# w, v = np.array([1.0, 0.0]), np.array([0.0, 4.0])
# mine.sgd_step((w,), (np.array([2.0, 2.0]),), (v,), (np.array([True, False]),), 0.5, 0.5, 0.0)
# w, v  # expected: w = [0, 0], v = [2, 0]

# %% [markdown]
# ## Check
#
# The same as `pytest -m task5` in a terminal. Each function is judged by itself: if `prune_neurons` calls
# your `take_neurons` and only that one is wrong, `prune_neurons` gets its points.
#
# Then answer questions 5a and 5b in `answers.md`, in words.

# %% [code]
# from course_check import run
#
# run("task5")


# %% answer
def take_neurons(weight, bias, keep):
    """Weights and biases of the neurons that stay.

        new_weight[u, m, i] = weight[u, keep[u, m], i],   new_bias[u, m] = bias[u, keep[u, m]]

    Parameters
    ----------
    weight : (units, k, in)
    bias : (units, k)
    keep : (units, n_keep) int
        Ascending in every row; each unit has its own.

    Returns
    -------
    new_weight : (units, n_keep, in)
    new_bias : (units, n_keep)

    >>> w, b = take_neurons(np.arange(6.0).reshape(1, 3, 2), np.array([[7.0, 8.0, 9.0]]), np.array([[0, 2]]))
    >>> w[0], b[0]
    (array([[0., 1.],
           [4., 5.]]), array([7., 9.]))
    """
    ### BEGIN SOLUTION
    return np.take_along_axis(weight, keep[:, :, None], axis=1), np.take_along_axis(bias, keep, axis=1)
    ### END SOLUTION


def prune_neurons(net, name, keep):
    """New network in which one maxout layer has only the neurons that stay.

    Parameters
    ----------
    net : dict of arrays
        Holds "<name>.weight" (units, k, in), "<name>.bias" (units, k), and the arrays of other layers.
    name : str
        The layer to prune.
    keep : (units, n_keep) int

    Returns
    -------
    new : dict with the same keys
        With n_keep = 1 the layer becomes dense: weight (units, in), bias (units,). Other layers are as
        before. `net` and its arrays stay as they were.

    >>> net = {"fc.weight": np.arange(6.0).reshape(1, 3, 2), "fc.bias": np.array([[7.0, 8.0, 9.0]])}
    >>> new = prune_neurons(net, "fc", np.array([[1]]))
    >>> new["fc.weight"], new["fc.bias"]
    (array([[2., 3.]]), array([8.]))
    """
    ### BEGIN SOLUTION
    weight, bias = take_neurons(net[f"{name}.weight"], net[f"{name}.bias"], keep)
    if keep.shape[1] == 1:
        weight, bias = weight[:, 0], bias[:, 0]
    return net | {f"{name}.weight": weight, f"{name}.bias": bias}
    ### END SOLUTION


def magnitude_mask(weight, sparsity, mask=None):
    """Mask that keeps the largest weights, by exact count.

    Parameters
    ----------
    weight : array of any shape
    sparsity : float in [0, 1)
        zeros / all. The number of False is floor(sparsity * size + 1/2).
    mask : bool, shape of weight, optional
        An earlier mask. What it removed stays removed and counts among the zeros; if it has more zeros
        than asked for, it comes back unchanged.

    Returns
    -------
    mask : bool, shape of weight; True = kept
        Ties in magnitude: the lowest flat index is kept.

    >>> magnitude_mask(np.array([0.5, -2.0, 0.5, 1.0]), sparsity=0.5)
    array([False,  True, False,  True])
    >>> magnitude_mask(np.array([0.5, -2.0, 0.5, 1.0]), sparsity=0.25)
    array([ True,  True, False,  True])
    """
    ### BEGIN SOLUTION
    magnitude = np.abs(weight).ravel()
    if mask is not None:
        magnitude[~mask.ravel()] = -1  # behind every weight that is still there
    zeros = int(np.floor(sparsity * weight.size + 0.5))
    stay = min(weight.size - zeros, int((magnitude >= 0).sum()))
    kept = np.zeros(weight.size, dtype=bool)
    kept[np.argsort(-magnitude, kind="stable")[:stay]] = True
    return kept.reshape(weight.shape)
    ### END SOLUTION


def apply_masks(net, masks):
    """New network in which masked weights are zero.

    Parameters
    ----------
    net : dict of arrays
    masks : dict of bool arrays
        For some of the names in net; True = kept. Names without a mask stay as they are.

    Returns
    -------
    new : dict with the same keys
        `net` and its arrays stay as they were.

    >>> apply_masks({"w": np.array([1.0, 2.0])}, {"w": np.array([True, False])})
    {'w': array([1., 0.])}
    """
    ### BEGIN SOLUTION
    return net | {name: np.where(mask, net[name], net[name].dtype.type(0)) for name, mask in masks.items()}
    ### END SOLUTION


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    """SGD step in place, with momentum and weight decay; masked weights stay exactly zero.

        v = momentum * v + g + weight_decay * w;   w = w - lr * v;   where mask is False: w = v = 0

    Parameters
    ----------
    weights, grads, velocities : tuples of arrays
        One entry a layer, in the same order.
    masks : tuple of bool arrays or None
        None: nothing of that layer is pruned.
    lr, momentum, weight_decay : float

    Returns
    -------
    None. The arrays in weights and velocities are changed in place; grads and masks are not.

    >>> w, v = np.array([1.0, 0.0]), np.array([0.0, 4.0])
    >>> sgd_step((w,), (np.array([2.0, 2.0]),), (v,), (np.array([True, False]),), 0.5, 0.5, 0.0)
    >>> w, v
    (array([0., 0.]), array([2., 0.]))
    """
    ### BEGIN SOLUTION
    for w, g, v, mask in zip(weights, grads, velocities, masks, strict=True):
        v *= momentum
        v += g + weight_decay * w
        if mask is not None:
            v[~mask] = 0
        w -= lr * v
        if mask is not None:
            w[~mask] = 0
    ### END SOLUTION


# %% checks
pytestmark = pytest.mark.task5


def layer(draws, n_keep=None):
    """A maxout layer and a keep for it, another one for each unit; the first unit keeps its last neuron."""
    units, k, size = draws.one_of([(5, 4, 3), (4, 5, 2), (6, 3, 4)])
    n_keep = n_keep or k - 1
    keep = np.stack([np.sort(draws.order(k)[:n_keep]) for _ in range(units)])
    keep[0] = np.sort([k - 1, *draws.order(k - 1)[: n_keep - 1]])
    return draws.distinct(units, k, size), draws.distinct(units, k), keep


def network(draws, n_keep=None):
    """A dict with that layer between two others."""
    weight, bias, keep = layer(draws, n_keep)
    net = {"conv1.weight": draws.distinct(2, 1, 3, 3), "fc3.weight": weight, "fc3.bias": bias}
    return net | {"fc4.weight": draws.distinct(2, len(weight)), "fc4.bias": draws.distinct(2)}, "fc3", keep


def step(draws, masked):
    """Arguments of sgd_step for two layers, the second without a mask; pruned weights begin at zero."""
    shapes = [(4, 3), (5,)]
    weights, grads, velocities = ([draws.magnitudes(*shape) for shape in shapes] for _ in range(3))
    mask = draws.integers(0, 2, shapes[0]) == 1
    mask[0, 0], mask[0, 1] = False, True
    if masked:
        weights[0][~mask] = 0
    masks = (mask if masked else None, None)
    return tuple(weights), tuple(grads), tuple(velocities), masks, 0.125, 0.5, 0.25


@pytest.mark.points(2)
def test_take_by_hand(ask):
    """Two units, k = 3; each keeps two neurons of its own."""
    weight, bias = np.arange(12.0).reshape(2, 3, 2), np.arange(6.0).reshape(2, 3)
    new_weight = np.array([[[0.0, 1.0], [4.0, 5.0]], [[8.0, 9.0], [10.0, 11.0]]])
    expected = (new_weight, np.array([[0.0, 2.0], [4.0, 5.0]]))
    ask.by_hand("take_neurons", (weight, bias, np.array([[0, 2], [1, 2]])), expected)
    ask("take_neurons", *layer(ask.draws, n_keep=2))  # and a drawn one


@pytest.mark.points(2)
def test_take_values(ask):
    """More units; all but one neuron stay, one stays, all stay."""
    ask("take_neurons", *layer(ask.draws))
    ask("take_neurons", *layer(ask.draws, n_keep=1))
    ask("take_neurons", *layer(ask.draws, n_keep=3))


@pytest.mark.points(2)
def test_prune_values(ask):
    """The named layer gets smaller, every other array of the network is as it was."""
    ask("prune_neurons", *network(ask.draws, n_keep=2))


@pytest.mark.points(2)
def test_prune_to_dense(ask):
    """One neuron per unit is left: weight (units, in), bias (units,)."""
    ask("prune_neurons", *network(ask.draws, n_keep=1))


@pytest.mark.points(1)
def test_prune_leaves_the_old_network(ask):
    """A new dict comes back; the old network and keep are as before."""
    ask("prune_neurons", *network(ask.draws, n_keep=2))
    ask.unchanged("prune_neurons", *network(ask.draws, n_keep=2))


@pytest.mark.points(2)
def test_mask_values(ask):
    """The count is exact, magnitudes decide, any shape; 2.5 zeros are rounded up to 3."""
    ask("magnitude_mask", ask.draws.magnitudes(6, 4), ask.draws.one_of([0.25, 0.75]))
    ask("magnitude_mask", ask.draws.magnitudes(2, 3, 4), 0.5)
    ask("magnitude_mask", ask.draws.magnitudes(10), 0.25)
    ask("magnitude_mask", ask.draws.magnitudes(10), 0.0)


@pytest.mark.points(1)
def test_mask_ties(ask):
    """Equal magnitudes: exactly as many go as asked for, the lowest flat index stays."""
    ask("magnitude_mask", ask.draws.integers(-2, 3, (6, 8)) / 2.0, 0.5)
    ask("magnitude_mask", np.ones((4, 5)), 0.25)


@pytest.mark.points(2)
def test_mask_after_mask(ask):
    """What an earlier mask removed stays removed and counts; a sparser earlier mask comes back."""
    weight = ask.draws.magnitudes(6, 4)
    # Six are gone, five of them large: then no two of the known slips give the same mask.
    ranks = np.abs(weight).ravel().argsort(kind="stable")
    gone = [*ranks[12:][ask.draws.order(12)[:5]], ranks[ask.draws.integers(3, 12)]]
    earlier = ~np.isin(np.arange(24), gone).reshape(6, 4)
    ask("magnitude_mask", weight, 0.5, earlier)
    ask("magnitude_mask", weight, 0.125, earlier)
    ask.unchanged("magnitude_mask", weight, 0.5, earlier)


@pytest.mark.points(2)
def test_apply_masks(ask):
    """Masked weights are zero in a new network; layers without a mask and the old network are as before."""
    net, _, _ = network(ask.draws)
    masks = {name: ask.draws.integers(0, 2, net[name].shape) == 1 for name in ("fc4.weight", "fc3.weight")}
    ask("apply_masks", net, masks)
    ask.unchanged("apply_masks", net, masks)


@pytest.mark.points(2)
def test_step_without_masks(ask):
    """Momentum, weight decay and step in the order of the formula, in place."""
    ask.in_place("sgd_step", *step(ask.draws, masked=False))


@pytest.mark.points(2)
def test_step_with_masks(ask):
    """A masked weight and its velocity are exactly zero after the step."""
    ask.in_place("sgd_step", *step(ask.draws, masked=True))


# %% mistakes
def _row_unit_plus_neuron(right, weight, bias, keep):
    units, n_keep = keep.shape
    small, small_bias = np.zeros((units * n_keep, weight.shape[2])), np.zeros(units * n_keep)
    for u in range(units):
        for m in range(n_keep):
            small[u + m], small_bias[u + m] = weight[u, keep[u, m]], bias[u, keep[u, m]]
    return small.reshape(units, n_keep, -1), small_bias.reshape(units, n_keep)


def _same_for_all_units(right, weight, bias, keep):
    return weight[:, keep[0]], bias[:, keep[0]]


def _bias_as_before(right, weight, bias, keep):
    return right(weight, bias, keep)[0], bias


def _first_neurons(right, weight, bias, keep):
    return weight[:, : keep.shape[1]], bias[:, : keep.shape[1]]


def _all_units_at_once(right, weight, bias, keep):
    return weight[:, keep], bias[:, keep]


def _prunes_all_units_at_once(right, net, name, keep):
    weight, bias = net[f"{name}.weight"][:, keep], net[f"{name}.bias"][:, keep]
    if keep.shape[1] == 1:
        weight, bias = weight[:, 0], bias[:, 0]
    return net | {f"{name}.weight": weight, f"{name}.bias": bias}


EVERY_UNIT = (
    "weight[:, keep] is used: it takes the neurons of all rows of keep from every unit. np.take_along_axis"
    " takes each unit's own."
)


def _stays_maxout(right, net, name, keep):
    new = right(net, name, keep)
    if keep.shape[1] == 1:
        new[f"{name}.weight"], new[f"{name}.bias"] = (
            new[f"{name}.weight"][:, None],
            new[f"{name}.bias"][:, None],
        )
    return new


def _only_the_layer(right, net, name, keep):
    return {key: array for key, array in right(net, name, keep).items() if key.startswith(name)}


def _operates_on_the_original(right, net, name, keep):
    net.update(right(net, name, keep))
    return net


def _sparsity_is_what_stays(right, weight, sparsity, mask=None):
    return right(weight, 1 - sparsity, mask)


def _signed(right, weight, sparsity, mask=None):
    return right(weight - weight.min() + 1, sparsity, mask)


def _ignores_the_mask(right, weight, sparsity, mask=None):
    return right(weight, sparsity)


def _of_what_is_left(right, weight, sparsity, mask=None):
    if mask is None:
        return right(weight, sparsity)
    return right(weight, 1 - (1 - sparsity) * mask.mean(), mask)


def _threshold(right, weight, sparsity, mask=None):
    kept = right(weight, sparsity, mask)
    return kept | (np.abs(weight) >= np.abs(weight[kept]).min())


def _both_masks(right, weight, sparsity, mask=None):
    return right(weight, sparsity) if mask is None else right(weight, sparsity) & mask


def _cuts_the_first(right, weight, sparsity, mask=None, kind="stable"):
    magnitude = np.abs(weight).ravel()
    if mask is not None:
        magnitude[~mask.ravel()] = -1
    zeros = int(np.floor(sparsity * weight.size + 0.5))
    zeros = max(zeros, int((magnitude < 0).sum()))
    kept = np.ones(weight.size, dtype=bool)
    kept[np.argsort(magnitude, kind=kind)[:zeros]] = False
    return kept.reshape(weight.shape)


def _cuts_unsorted_ties(right, weight, sparsity, mask=None):
    return _cuts_the_first(right, weight, sparsity, mask, kind=None)


TIES = (
    "ties go the wrong way: in a tie the lowest flat index is kept. Sort the largest first and stably"
    ' (np.argsort(-magnitude, kind="stable")) and keep the front.'
)


def _mask_the_other_way(right, net, masks):
    return right(net, {name: ~mask for name, mask in masks.items()})


def _makes_new_arrays(right, *arguments):
    return None


def _velocity_is_lost(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(weights, grads, tuple(v.copy() for v in velocities), masks, lr, momentum, weight_decay)


def _weights_are_lost(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(tuple(w.copy() for w in weights), grads, velocities, masks, lr, momentum, weight_decay)


def _no_momentum(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(weights, grads, velocities, masks, lr, 0.0, weight_decay)


def _no_weight_decay(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(weights, grads, velocities, masks, lr, momentum, 0.0)


def _masks_ignored(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(weights, grads, velocities, (None,) * len(masks), lr, momentum, weight_decay)


def _velocity_unmasked(right, weights, grads, velocities, masks, lr, momentum, weight_decay):
    right(weights, grads, velocities, (None,) * len(masks), lr, momentum, weight_decay)
    for w, mask in zip(weights, masks, strict=True):
        if mask is not None:
            w[~mask] = 0


MISTAKES = {
    "take_neurons": [
        (
            _row_unit_plus_neuron,
            "neurons land in row unit + m of the flattened array: row unit * n_keep + m is meant.",
        ),
        (
            _same_for_all_units,
            "every unit keeps the neurons of unit 0: each unit has a row of its own in keep.",
        ),
        (_bias_as_before, "the bias still has all k neurons: select from it as from the weight."),
        (_all_units_at_once, EVERY_UNIT),
        (_first_neurons, "the first neurons stay: take those that keep names."),
    ],
    "prune_neurons": [
        (_prunes_all_units_at_once, EVERY_UNIT),
        (_stays_maxout, "a unit of one neuron still has its axis: drop it, the layer is dense now."),
        (_only_the_layer, "the other layers are missing from the new network."),
    ],
    "magnitude_mask": [
        (_sparsity_is_what_stays, "sparsity is taken as the share that stays: it is the share of zeros."),
        (_signed, "signed values are compared: a weight of -2 is larger in magnitude than 1."),
        (_ignores_the_mask, "the earlier mask is ignored: what it removed must stay removed."),
        (_of_what_is_left, "sparsity is taken of what the earlier mask left: it is zeros / all weights."),
        (
            _both_masks,
            "the new mask and the earlier one are joined by &: more is zero than was asked for.",
        ),
        (_cuts_the_first, TIES),
        (_cuts_unsorted_ties, TIES),
        (
            _threshold,
            "everything that reaches a threshold stays: ties then spoil the count, so sort and count.",
        ),
    ],
    "apply_masks": [(_mask_the_other_way, "kept weights are zeroed and masked ones stay: True means kept.")],
    "sgd_step": [
        (
            _makes_new_arrays,
            "the arrays are as before: w = w - ... makes a new array, w -= ... changes the one given.",
        ),
        (
            _velocity_is_lost,
            "the velocities are as before: v = momentum * v + ... makes a new array; v *= momentum and then"
            " v += ... change the one given.",
        ),
        (
            _weights_are_lost,
            "the weights are as before: w = w - lr * v makes a new array, w -= lr * v changes the one given.",
        ),
        (_no_momentum, "the old velocity is forgotten: v = momentum * v + g + weight_decay * w."),
        (_no_weight_decay, "weight decay is missing: v = momentum * v + g + weight_decay * w."),
        (_masks_ignored, "the masks are ignored: where a mask is False, w and v are zero after the step."),
        (
            _velocity_unmasked,
            "the velocity of pruned weights is not zero and moves them in the next step: zero it as well.",
        ),
    ],
}
