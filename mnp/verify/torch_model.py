"""The candidate's side of `mnp check --model`: a module of PyTorch, and the functions beside it.

It runs in the child process; see `mnp.verify.models` for what a file may offer.
"""

import contextlib
import inspect

import numpy as np

from mnp.errors import MnpError
from mnp.verify import candidate, network
from mnp.verify.models import MAXOUT, OPTIONAL, STAGES, Golden, notes_of
from mnp.verify.network import STEPS
from mnp.verify.state_dict import need


class UnfitError(Exception):
    """What does not fit in a candidate, in one line."""


class Model:
    """A user's module, which a stage gives the golden parameters, and the functions in `file`."""

    def __init__(self, file, build, golden):
        self.torch, self.file, self.golden = need("torch"), file, golden
        self.torch.set_num_threads(1)
        self.net = build().double()
        self.net.register_forward_pre_hook(self.give_keep, with_kwargs=True)
        self.names = match_names(golden.params(0), self.net, getattr(file, "NAMES", {}))
        self.kept = None

    def give_keep(self, net, args, options):
        """Give `keep` to a forward that takes it."""
        if "keep" in inspect.signature(net.forward).parameters and "keep" not in options:
            options = {**options, "keep": self.tensor(self.kept[: len(args[0])]) if net.training else None}
        return args, options

    @contextlib.contextmanager
    def dropout_keeps(self, kept):
        """Let `torch.nn.functional.dropout` keep these neurons."""
        functional, self.kept = self.torch.nn.functional, kept

        def dropout(input, p=0.5, training=True, inplace=False):
            if not training:
                return input
            keep = kept[: len(input)]
            if input.shape == keep.swapaxes(1, 2).shape:  # neurons laid out as (N, k, units)
                keep = keep.swapaxes(1, 2)
            if input.numel() != keep.size:
                raise UnfitError(
                    f"dropout gets an array of shape {tuple(input.shape)}: it belongs to the neurons before "
                    f"the maximum, {keep.shape}"
                )
            return self.torch.where(self.tensor(keep).reshape(input.shape), input / (1 - p), 0.0)

        plain, functional.dropout = functional.dropout, dropout
        try:
            yield
        finally:
            functional.dropout = plain

    def tensor(self, array):
        return self.torch.from_numpy(np.array(array, order="C"))

    def load(self, arrays):
        """Give the module these parameters and no gradients; return it in training mode."""
        own = dict(self.net.named_parameters())
        with self.torch.no_grad():
            for name, array in arrays.items():
                param = own[self.names[name]]
                param.copy_(self.tensor(array).reshape(param.shape))
                param.grad = None
        return self.net.train()

    def arrays(self, tensors):
        """Arrays by the golden names and in the golden shapes, of tensors by the module's names."""
        found = {}
        for name, like in self.golden.params(0).items():
            tensor = tensors[self.names[name]]
            if tensor is None:
                raise UnfitError(f"{self.names[name]} gets no gradient")
            array = plain(tensor)
            if name.startswith(MAXOUT) and array.size % like.shape[0] == 0:  # k may have become smaller
                array = array.reshape(like.shape[0], -1, *like.shape[2:])
            found[name] = array
        return found

    def params(self, net=None):
        return self.arrays(dict((net or self.net).named_parameters()))

    # --- the stages ---

    def logits(self, step):
        images, _, keep = self.golden.batch(step)
        with self.dropout_keeps(keep):
            return plain(self.load(self.golden.params(step))(self.tensor(images)))

    def evaluation_logits(self):
        return plain(self.load(self.golden.params(STEPS)).eval()(self.tensor(self.golden.counted)))

    def loss(self, logits, labels):
        return plain(self._loss(self.tensor(logits), self.tensor(labels)))

    def _loss(self, logits, labels):
        return getattr(self.file, "loss", self.torch.nn.functional.cross_entropy)(logits, labels)

    def gradients(self, step):
        images, labels, keep = self.golden.batch(step)
        net = self.load(self.golden.params(step))
        with self.dropout_keeps(keep):
            self._loss(net(self.tensor(images)), self.tensor(labels)).backward()
        return self.arrays({name: param.grad for name, param in net.named_parameters()})

    def optimizer(self):
        if hasattr(self.file, "optimizer"):
            return self.file.optimizer(self.net)
        numbers = {"momentum": network.MOMENTUM, "weight_decay": network.WEIGHT_DECAY}
        return self.torch.optim.SGD(self.net.parameters(), network.LR, **numbers)

    def training(self):
        net, step_function = (
            self.load(self.golden.params(0)),
            getattr(self.file, "train_step", self._train_step),
        )
        optimizer = self.optimizer()
        for step in range(STEPS):
            images, labels, keep = self.golden.batch(step)
            with self.dropout_keeps(keep):
                step_function(net, optimizer, self.tensor(images), self.tensor(labels))
            yield self.params()

    def _train_step(self, net, optimizer, images, labels):
        optimizer.zero_grad()
        self._loss(net(images), labels).backward()
        optimizer.step()

    def win_counts(self, net=None):
        net = net or self.load(self.golden.params(STEPS))
        keep = self.golden.keep_while_counting()[:, :, : self.params(net)[f"{MAXOUT}.weight"].shape[1]]
        with self.dropout_keeps(keep):
            return plain(self.file.win_counts(net, self.tensor(self.golden.counted)))

    def rank(self, counts):
        return plain(self.file.rank(self.tensor(counts)))

    def keep(self, order, n_keep):
        return plain(self.file.keep(self.tensor(order), n_keep))

    def prune(self):
        net = self.file.prune(self.load(self.golden.params(STEPS)), self.tensor(self.golden.keep))
        params = self.params(net.eval())
        logits = plain(net(self.tensor(self.golden.counted)))
        return params, logits, self.win_counts(net) if hasattr(self.file, "win_counts") else None

    def masks(self, sparsity):
        found = self.file.masks(self.load(self.golden.params(STEPS)), sparsity)
        masks = {}
        for name, like in self.golden.params(0).items():
            if not name.endswith("weight"):
                continue
            if self.names[name] not in found:
                raise UnfitError(f"masks() has none for {self.names[name]}")
            masks[name] = plain(found[self.names[name]]).reshape(like.shape)
        return masks

    def masked_steps(self):
        masks = self.golden.masks()
        net = self.load({name: a * masks.get(name, 1) for name, a in self.golden.params(STEPS).items()})
        own, optimizer = dict(net.named_parameters()), self.optimizer()
        theirs = {self.names[name]: self.tensor(mask) for name, mask in masks.items()}
        theirs = {name: mask.reshape(own[name].shape) for name, mask in theirs.items()}
        for step in (0, 1):
            for name, grad in self.golden.any_gradients(step).items():
                param = own[self.names[name]]
                param.grad = self.tensor(grad).reshape(param.shape)
            self.file.masked_step(net, optimizer, theirs)
            yield self.params()


def plain(value):
    """Copy a tensor, or anything that NumPy takes, into an array."""
    return np.array(value.detach().numpy() if hasattr(value, "detach") else value)


def match_names(golden, net, given):
    """Find which parameter of a module each golden array is, by the name given or by shape and order."""
    own, names = {name: tuple(param.shape) for name, param in net.named_parameters()}, {}
    for name, array in golden.items():
        shapes = [array.shape]
        if name.startswith(MAXOUT):
            shapes.append((array.shape[0] * array.shape[1], *array.shape[2:]))
        left = [other for other in own if other not in names.values()]
        if name in given:
            left = [other for other in left if other == given[name]]
        fits = [other for other in left if own[other] in shapes]
        if not fits:
            turned = [other for other in left if own[other] == shapes[-1][::-1]]
            hint = f"; {turned[0]} is its transpose: nn.Linear has (out, in)" if turned else ""
            raise UnfitError(f"no parameter of the model has the shape {shapes[-1]} of {name}{hint}")
        names[name] = fits[0]
    if extra := [other for other in own if other not in names.values()]:
        raise UnfitError(f"the network has no parameter like {extra[0]} {own[extra[0]]}")
    return names


def measure(where, seed=0):
    """Run every stage on a candidate.

    Yields
    ------
    stage, notes, problem : str, dict of name -> array or None where nothing is offered, str
        `problem` says what stopped the stage.

    Raises MnpError for a file that does not import, a function that it does not have, and a module whose
    parameters are not those of the network.
    """
    path, _, name = where.removeprefix(candidate.MODEL).rpartition(":")
    if not path:
        raise MnpError(f"{name}: give FILE:function; the function returns the model")
    file, golden = candidate.load_module(path), Golden(seed)
    if not callable(getattr(file, name, None)):
        raise MnpError(f"{path} has no function {name}")

    def said(error):
        if isinstance(error, UnfitError):
            return str(error)
        return f"raised {candidate.one_line(error)}{candidate.where_raised(error, file.__file__)}"

    try:
        model = Model(file, getattr(file, name), golden)
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
