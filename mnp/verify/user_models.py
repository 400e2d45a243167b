"""A user's network of PyTorch or JAX and the functions beside it: how each stage runs on it.

This is the candidate's side of `mnp check --model`, in the child process; `mnp.verify.models` says what a
file may offer.
"""

import contextlib
import inspect
import itertools
import os

import numpy as np

from mnp.errors import MnpError
from mnp.verify import candidate
from mnp.verify.models import OPTIONAL, STAGES, Golden, notes_of
from mnp.verify.network import LR, MOMENTUM, STEPS, WEIGHT_DECAY
from mnp.verify.state_dict import need


class UnfitError(Exception):
    """What does not fit in a candidate, in one line."""


class Model:
    """The stages on a user's network and the functions in `file`; a framework's own ways are in a subclass.

    A *net* is what holds the parameters: a module of PyTorch, a tree of arrays of JAX.
    """

    def __init__(self, file, net, golden):
        self.file, self.net, self.golden = file, net, golden
        self.names = match_names(golden, self.named(net), getattr(file, "NAMES", {}))

    def arrays(self, tensors):
        """Arrays by the golden names and in the golden shapes, of tensors by the user's names."""
        found = {}
        for name, own in self.names.items():
            if tensors[own] is None:
                raise UnfitError(f"{own} gets no gradient")
            found[name] = self.golden.grouped(name, plain(tensors[own]))
        return found

    def tensors(self, arrays):
        """The opposite: tensors by the user's names and in the user's shapes."""
        own = self.named(self.net)
        return {
            self.names[name]: self.tensor(np.reshape(array, tuple(own[self.names[name]].shape)))
            for name, array in arrays.items()
        }

    def batch(self, step):
        images, labels, keeps = self.golden.batch(step)
        return self.tensor(images), self.tensor(labels), keeps

    def logits(self, step):
        images, _, keeps = self.batch(step)
        return plain(self.forward(self.load(self.golden.params(step)), images, keeps))

    def evaluation_logits(self, net=None):
        net = self.load(self.golden.params(STEPS)) if net is None else net
        return plain(self.forward(net, self.tensor(self.golden.counted), None))

    def loss(self, logits, labels):
        return plain(self.loss_of(self.tensor(logits), self.tensor(labels)))

    def gradients(self, step):
        return self.arrays(self.backward(self.load(self.golden.params(step)), *self.batch(step)))

    def training(self):
        net = self.load(self.golden.params(0))
        state = self.optimizer(net)
        for step in range(STEPS):
            net, state = self.train_step(net, state, *self.batch(step))
            yield self.arrays(self.named(net))

    def win_counts(self, net=None):
        pruned, net = net is not None, self.load(self.golden.params(STEPS)) if net is None else net
        with self.dropout_keeps(self.golden.keep_while_counting(pruned)):
            counts = self.file.win_counts(net, self.tensor(self.golden.counted))
        return [plain(c) for c in ([counts] if len(self.golden.maxouts) == 1 else counts)]

    def rank(self, counts):
        return plain(self.file.rank(self.tensor(counts)))

    def keep(self, order, n_keep):
        return plain(self.file.keep(self.tensor(order), n_keep))

    def prune(self):
        keeps = [self.tensor(keep) for keep in self.golden.of_maxouts("neurons_kept")]
        net = self.file.prune(self.load(self.golden.params(STEPS)), keeps[0] if len(keeps) == 1 else keeps)
        logits = self.evaluation_logits(net)
        counts = self.win_counts(net) if hasattr(self.file, "win_counts") else None
        return self.arrays(self.named(net)), logits, counts

    def masks(self, sparsity):
        found = self.file.masks(self.load(self.golden.params(STEPS)), sparsity)
        if missing := [self.names[n] for n in self.golden.weights() if self.names[n] not in found]:
            raise UnfitError(f"masks() has none for {missing[0]}")
        like = self.golden.weights().items()
        return {name: plain(found[self.names[name]]).reshape(array.shape) for name, array in like}

    def masked_steps(self):
        masks = self.golden.masks()
        net = self.load({name: a * masks.get(name, 1) for name, a in self.golden.params(STEPS).items()})
        state = self.optimizer(net)
        for step in (0, 1):
            grads = self.tensors(self.golden.any_gradients(step))
            net, state = self.masked_step(net, state, grads, self.tensors(masks))
            yield self.arrays(self.named(net))


class Torch(Model):
    def __init__(self, file, net, golden):
        self.torch, self.kept = need("torch"), []
        self.torch.set_num_threads(1)
        net.double().register_forward_pre_hook(self.give_keep, with_kwargs=True)
        super().__init__(file, net, golden)

    def named(self, net):
        return dict(net.named_parameters())

    def tensor(self, array):
        return self.torch.from_numpy(np.array(array, order="C"))

    def load(self, arrays):
        """Give the module these parameters and no gradients; return it in training mode."""
        own = self.named(self.net)
        with self.torch.no_grad():
            for name, tensor in self.tensors(arrays).items():
                own[name].copy_(tensor)
                own[name].grad = None
        return self.net.train()

    def give_keep(self, net, args, options):
        """Give `keep` to a forward that takes it."""
        if "keep" in inspect.signature(net.forward).parameters and "keep" not in options:
            keeps = [self.tensor(keep[: len(args[0])]) for keep in self.kept]
            options = {**options, "keep": one_or_list(keeps) if net.training else None}
        return args, options

    @contextlib.contextmanager
    def dropout_keeps(self, keeps):
        """Let one call of `torch.nn.functional.dropout` after the other keep these neurons."""
        functional, self.kept, turns = self.torch.nn.functional, keeps, itertools.cycle(keeps)

        def dropout(input, p=0.5, training=True, inplace=False):
            if not training:
                return input
            keep = next(turns)[: len(input)] if keeps else np.ones(input.shape, bool)
            if keep.ndim == 3 and input.shape == keep.swapaxes(1, 2).shape:  # laid out as (N, k, units)
                keep = keep.swapaxes(1, 2)
            if input.numel() != keep.size:
                where = f"it belongs to the neurons before the maximum, {keep.shape}"
                raise UnfitError(f"dropout gets an array of shape {tuple(input.shape)}: {where}")
            return self.torch.where(self.tensor(keep).reshape(input.shape), input / (1 - p), 0.0)

        plain, functional.dropout = functional.dropout, dropout
        try:
            yield
        finally:
            functional.dropout = plain

    def forward(self, net, images, keeps):
        if keeps is None:
            return net.eval()(images)
        with self.dropout_keeps(keeps):
            return net(images)

    def loss_of(self, logits, labels):
        return getattr(self.file, "loss", self.torch.nn.functional.cross_entropy)(logits, labels)

    def backward(self, net, images, labels, keeps):
        self.loss_of(self.forward(net, images, keeps), labels).backward()
        return {name: param.grad for name, param in net.named_parameters()}

    def optimizer(self, net):
        if hasattr(self.file, "optimizer"):
            return self.file.optimizer(net)
        return self.torch.optim.SGD(net.parameters(), LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def train_step(self, net, optimizer, images, labels, keeps):
        if hasattr(self.file, "train_step"):
            with self.dropout_keeps(keeps):
                self.file.train_step(net, optimizer, images, labels)
        else:
            optimizer.zero_grad()
            self.backward(net, images, labels, keeps)
            optimizer.step()
        return net, optimizer

    def masked_step(self, net, optimizer, grads, masks):
        for name, param in net.named_parameters():
            param.grad = grads[name]
        self.file.masked_step(net, optimizer, masks)
        return net, optimizer


class Jax(Model):
    def __init__(self, file, net, golden):
        self.jax = need("jax")
        params, self.apply = net
        super().__init__(file, params, golden)

    def named(self, params):
        entries, _ = self.jax.tree_util.tree_flatten_with_path(params)
        return {".".join(_word(key) for key in path): leaf for path, leaf in entries}

    def tensor(self, array):
        return self.jax.numpy.asarray(np.array(array, order="C"))

    def load(self, arrays):
        return self.tree(self.tensors(arrays))

    def tree(self, tensors):
        """A tree like the user's parameters of tensors by name."""
        structure = self.jax.tree_util.tree_structure(self.net)
        return structure.unflatten([tensors[name] for name in self.named(self.net)])

    def dropout_keeps(self, keeps):
        return contextlib.nullcontext()  # it is an argument

    def forward(self, params, images, keeps):
        return self.apply(params, images, self.keep_of(keeps))

    def keep_of(self, keeps):
        return one_or_list([self.tensor(keep) for keep in keeps]) if keeps else None

    def loss_of(self, logits, labels):
        if hasattr(self.file, "loss"):
            return self.file.loss(logits, labels)
        return -self.jax.nn.log_softmax(logits)[self.jax.numpy.arange(len(labels)), labels].mean()

    def backward(self, params, images, labels, keeps):
        return self.named(self.grads(params, images, labels, keeps))

    def grads(self, params, images, labels, keeps):
        return self.jax.grad(lambda params: self.loss_of(self.forward(params, images, keeps), labels))(params)

    def optimizer(self, params):
        if hasattr(self.file, "optimizer"):
            return self.file.optimizer(params)
        return self.jax.tree_util.tree_map(self.jax.numpy.zeros_like, params)

    def train_step(self, params, state, images, labels, keeps):
        if hasattr(self.file, "train_step"):
            return self.file.train_step(params, state, images, labels, self.keep_of(keeps))
        update = getattr(self.file, "update", self.update)
        return update(params, state, self.grads(params, images, labels, keeps))

    def update(self, params, velocities, grads):
        tree_map = self.jax.tree_util.tree_map
        velocities = tree_map(lambda w, v, g: MOMENTUM * v + g + WEIGHT_DECAY * w, params, velocities, grads)
        return tree_map(lambda w, v: w - LR * v, params, velocities), velocities

    def masked_step(self, params, state, grads, masks):
        return self.file.masked_step(params, state, self.tree(grads), masks)


def _word(key):
    """A key of a tree's path as a word: a dict's key, a list's index, an attribute's name."""
    return str(next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)))


def one_or_list(values):
    return values[0] if len(values) == 1 else values


def plain(value):
    """Copy a tensor, or anything that NumPy takes, into an array."""
    return np.array(value.detach().numpy() if hasattr(value, "detach") else value)


def match_names(golden, tensors, given):
    """Find which parameter of a network each golden array is, by the name given or by shape and order."""
    own, names = {name: tuple(tensor.shape) for name, tensor in tensors.items()}, {}
    for name, array in golden.params(0).items():
        shapes = [array.shape]
        if name.partition(".")[0] in golden.maxouts:
            shapes.append((array.shape[0] * array.shape[1], *array.shape[2:]))
        left = [other for other in own if other not in names.values()]
        if name in given:
            left = [other for other in left if other == given[name]]
        fits = [other for other in left if own[other] in shapes]
        if not fits:
            turned = [other for other in left if own[other] == shapes[-1][::-1]]
            hint = f"; {turned[0]} is its transpose: weights are (out, in)" if turned else ""
            raise UnfitError(f"no parameter of the model has the shape {shapes[-1]} of {name}{hint}")
        names[name] = fits[0]
    if extra := [other for other in own if other not in names.values()]:
        raise UnfitError(f"the network has no parameter like {extra[0]} {own[extra[0]]}")
    return names


def measure(where, source=0):
    """Run every stage on a candidate; `source` is that of `models.Golden`.

    Yields (stage, dict of name -> array or None where nothing is offered, what stopped the stage or "").

    Raises MnpError for a file that does not import, a function that it does not have, and a model whose
    parameters are not those of the network.
    """
    path, _, name = where.removeprefix(candidate.MODEL).rpartition(":")
    if not path:
        raise MnpError(f"{name}: give FILE:function; the function returns the model")
    os.environ["JAX_ENABLE_X64"] = "1"  # before the file imports JAX
    file, golden = candidate.load_module(path), Golden(source)
    if not callable(getattr(file, name, None)):
        raise MnpError(f"{path} has no function {name}")

    def said(error):
        if isinstance(error, UnfitError):
            return str(error)
        return f"raised {candidate.one_line(error)}{candidate.where_raised(error, file.__file__)}"

    try:
        net = getattr(file, name)()
        in_jax = isinstance(net, tuple) and len(net) == 2 and callable(net[1])
        if not in_jax and not hasattr(net, "named_parameters"):
            kind = type(net).__name__
            raise UnfitError(f"the model is a {kind}: return an nn.Module, or JAX's (params, forward)")
        model = (Jax if in_jax else Torch)(file, net, golden)
    except MnpError:
        raise
    except (Exception, SystemExit) as error:
        raise MnpError(f"{path}: {said(error)}") from error
    for stage in STAGES:
        if stage in OPTIONAL and not hasattr(file, stage):
            yield stage, None, ""
            continue
        notes, problem = {}, ""
        try:
            notes.update(notes_of(stage, model, golden))
        except (Exception, SystemExit) as error:
            problem = said(error)
        yield stage, notes, problem
