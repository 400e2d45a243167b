"""The fuzzer's readers of what the program itself writes: checkpoints, safetensors, recipes, seeds, caches.

Changing bytes alone would test a checksum and little else. Every second file is therefore made of lies
(`fuzz_lies.py`), with checksums that fit.
"""

import functools
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fuzz_lies import lying_array, lying_checkpoint, lying_json, lying_safetensors, npy

from mnp.checkpoint import load_checkpoint, save_checkpoint
from mnp.errors import MnpError
from mnp.experiments import config, registry, seeds
from mnp.experiments.config import to_dict
from mnp.experiments.recipes import DataRecipe, Experiment, ModelRecipe, PruneRecipe, TrainRecipe
from mnp.experiments.registry import EXPERIMENTS
from mnp.experiments.results import format_table, to_csv
from mnp.experiments.runner import Runner, task_of
from mnp.nn import BatchNorm2d, Conv2d, Dense, Flatten, MaxoutDense, MaxPool2d, Network
from mnp.nn.checkpoint import load_network, save_network
from mnp.sparse import file, sparse_network
from mnp.verify import export, safetensors_file

# --- the networks and runs that the seeds are of ------------------------------------------------------


def network():
    """Every kind of layer that has arrays, small, pruned and masked."""
    rng = np.random.default_rng(5)
    make = {"rng": rng, "backend": "textbook"}
    net = Network(
        [
            ("conv", Conv2d(1, 2, 3, padding=1, **make)),
            ("norm", BatchNorm2d(2, backend="textbook")),
            ("pool", MaxPool2d(2, backend="textbook")),
            ("flat", Flatten(backend="textbook")),
            ("maxout", MaxoutDense(8, 3, 2, relu=True, dropout=0.25, **make)),
            ("fc", Dense(3, 4, **make)),
        ]
    )
    net.set_masks({name: rng.random(net.params()[name].shape) < 0.4 for name in ("conv.weight", "fc.weight")})
    return net


TINY = Experiment(
    "tiny",
    data=DataRecipe("digits", train_images=40, test_images=20),
    model=ModelRecipe(conv1=2, conv2=2, neurons=8, k=2),
    train=TrainRecipe(epochs=2, batch_size=20),
    prune=PruneRecipe(epochs=1),
)


class OneFile(Runner):
    """A run whose every checkpoint is the one file that is being read."""

    def checkpoint_path(self, round):
        return self.progress_path


def tiny_run():
    """A prepared run, what it wrote inside round 0 and what it wrote after it."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        one = OneFile(TINY, out, task_of(TINY), "textbook", lambda line: None)
        one.prepare([])
        round = one.plan[0]
        state = one.start(round)
        state.epoch, state.train_loss, state.error_before = 1, 0.5, 90.0
        state.seconds_spent = lambda: 1.0  # the same bytes every time
        one.save_progress(round, state)
        progress = one.progress_path.read_bytes()
        one.finish(round, state)
        return one, progress, one.progress_path.read_bytes()


def bytes_of(write):
    """What a function writes that is given a path."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


# --- reading, and what a right result is --------------------------------------------------------------


def read_round(one, path):
    lines = []
    one.progress_path, one.log = path, lines.append
    meta = one.read_finished(one.plan[0])
    if meta is None:
        raise MnpError(lines[-1])
    return meta


def read_progress(one, path):
    lines = []
    one.progress_path, one.log = path, lines.append
    state = one.resume(one.plan[0])
    if state is None:
        raise MnpError(lines[-1] if lines else "it belongs to another round")
    return state


def can_resume(state):
    """Whether what was resumed can be trained further: the next iteration, as `train_epoch` makes it."""
    state.rng.permutation(4)
    arrays = [*state.net.params().values(), *state.optimizer.velocity.values()]
    return 0 <= state.epoch <= TINY.train.epochs and all(np.isfinite(a).all() for a in arrays)


def is_finite(net):
    return all(np.isfinite(a).all() and not a.dtype.hasobject for a in net.state_dict().values())


def runs_sparse(net):
    """Finite, and the loops, which trust the columns, stay inside their arrays."""
    for layer in net.layers.values():
        if type(layer).__name__ == "SparseDense" and layer.in_features <= 1 << 16:
            layer.forward(np.zeros((1, layer.in_features), layer.dtype))
    return is_finite(net)


def are_small(arrays):
    return all(isinstance(a, np.ndarray) and not a.dtype.hasobject for a in arrays.values())


def is_row(meta):
    return bool(to_csv([meta["row"]]) and format_table([meta["row"]]))


def readers(reader):
    """The readers of this file, by name; `reader` is `fuzz.Reader`."""
    net = network()
    repr(net)  # imports Numba now, not while a file is read
    net_file = bytes_of(lambda path: save_network(path, net))
    sparse = sparse_network(net, ["conv", "maxout", "fc"])
    sparse_files = [
        bytes_of(lambda path, compact=compact: file.save_sparse(path, sparse, compact))
        for compact in (False, True)
    ]
    plain = {"a": np.arange(6, dtype=np.float32), "b/c": np.array([[True, False]]), "d": np.int64([-1, 2])}
    plain_file = bytes_of(lambda path: save_checkpoint(path, plain, {"k": 4}))
    one, progress, step = tiny_run()
    tensors = export.safetensors_bytes(net)
    recipes = [json.dumps(to_dict(e)).encode() for e in EXPERIMENTS.values()]
    lying = functools.partial(reader, made=lying_checkpoint)

    def read_state(path):
        return export.from_state_dict(export.read_state(path), net)

    return {
        "npz": lying([plain_file, net_file], lambda p: load_checkpoint(p)[0], are_small),
        "checkpoint": lying([net_file], lambda p: load_network(p, "textbook"), is_finite),
        "sparse": lying(sparse_files, lambda p: file.load_sparse(p, "textbook"), runs_sparse),
        "step": lying([step], lambda p: read_round(one, p), is_row),
        "progress": lying([progress], lambda p: read_progress(one, p), can_resume),
        "safetensors": reader(
            [tensors],
            lambda p: safetensors_file.from_bytes(p.read_bytes()),
            are_small,
            made=lying_safetensors,
        ),
        "state": reader([tensors], read_state, is_finite, made=lying_safetensors, name="file.safetensors"),
        "recipe": reader(
            recipes,
            lambda p: registry.read_experiment(p.parent),
            lambda e: to_dict(e) is not None and len(config.digest(e)) == 8,
            made=lying_json,
            name=registry.RECIPE,
        ),
        "seeds": reader(
            [b'{"seeds": [0, 1, 2]}'],
            lambda p: seeds.read_seeds(p.parent),
            lambda found: all(type(s) is int and s >= 0 for s in found),
            made=lying_json,
            name=registry.SEEDS,
        ),
        "cache": cache_reader(reader),
    }


def cache_reader(reader):
    """The decoded photographs' cache: an array that is mapped, beside metadata with its checksum."""
    from mnp.data import lfw_images

    images = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)

    def read(path):
        try:  # metadata that agree with whatever the array holds
            digest = hashlib.sha256(np.load(path, allow_pickle=False)).hexdigest()
        except Exception:
            digest = "0"
        metadata = {"photographs": ["a", "b"], "content_sha256": "x", "array_sha256": digest}
        metadata_path = path.parent / "metadata.json"
        metadata_path.write_text(json.dumps(metadata))
        try:
            array, _ = lfw_images._load_cached(path, metadata_path, 4)
        finally:
            metadata_path.unlink()
        if array is None:
            raise MnpError("it is decoded again")
        return array

    return reader(
        [npy(images)], read, lambda a: a.shape == (2, 3, 4, 4) and a.dtype == np.uint8, made=lying_array
    )
