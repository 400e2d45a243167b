"""Export and import: other programs compute the same logits from what is written, and we from theirs."""

import json
import os
import sys

import numpy as np
import pytest
from one_line import one_line, refused

import mnp.data
from mnp.cli import main
from mnp.errors import MnpError
from mnp.nn import BatchNorm2d, Conv2d, Dense, Flatten, MaxoutDense, MaxPool2d, Network, ReLU, lenet5
from mnp.nn.checkpoint import load_network, save_network
from mnp.nn.layers import AvgPool2d, Dropout
from mnp.pruning.surgery import apply_masks, prune_neurons, weight_names
from mnp.pruning.weights import magnitude_mask
from mnp.sparse import sparse_network
from mnp.verify.export import export, from_state_dict, read_state, to_state_dict

K = 4


def trained(net, seed=0):
    """Weights as after some training: biases not zero, statistics not 0 and 1."""
    rng = np.random.default_rng(seed)
    for name, array in net.state_dict().items():
        spread = 0.3 * rng.normal(size=array.shape)
        array[...] = np.abs(1 + spread) if "running_var" in name else array + 0.1 * spread
    return net


def masked(net, sparsity=0.9):
    return apply_masks(
        net, {name: magnitude_mask(net.params()[name], sparsity) for name in weight_names(net)}
    )


def pruned_to(net, k, seed=1):
    """Some k neurons of each unit stay."""
    rng = np.random.default_rng(seed)
    units = net["fc3"].units
    keep = np.sort(np.argsort(rng.random((units, net["fc3"].k)), axis=1)[:, :k], axis=1)
    return prune_neurons(net, "fc3", keep)


@pytest.fixture(scope="module")
def stages():
    """The maxout LeNet unpruned, after neuron pruning (k = 2 and 1), and masked after that."""
    full = trained(lenet5(8, 12, 64, K, rng=0))
    one = pruned_to(full, 1)
    return {"unpruned": full, "k=2": pruned_to(full, 2), "k=1": one, "masked": masked(one)}


@pytest.fixture(scope="module")
def images():
    data = mnp.data.load("digits")
    return np.concatenate([data.train_images, data.test_images])[:1000]


def odd_network():
    """Every kind of layer, sizes that leave a rest, a maxout without ReLU."""
    rng = np.random.default_rng(3)
    return trained(
        Network(
            [
                ("conv", Conv2d(3, 5, 3, stride=2, padding=1, rng=rng)),
                ("bn", BatchNorm2d(5)),
                ("act", ReLU()),
                ("pool", MaxPool2d(3, 2)),
                ("mean", AvgPool2d(2, 1)),
                ("flatten", Flatten()),
                ("drop", Dropout(0.3)),
                ("fc1", MaxoutDense(45, 7, 3, rng=rng)),
                ("fc2", MaxoutDense(7, 5, 2, relu=True, dropout=0.2, rng=rng)),
                ("fc3", Dense(5, 4, rng=rng)),
            ]
        )
    )


def run_onnx(path, x):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": x})[0]


# --- ONNX ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["unpruned", "k=2", "k=1", "masked"])
def test_onnx_runtime_gives_our_logits_on_1000_images(stages, images, stage, tmp_path):
    pytest.importorskip("onnx")
    net, path = stages[stage], tmp_path / "net.onnx"
    export(net, "onnx", path)
    ours = net.forward(images)
    assert np.abs(ours - run_onnx(path, images)).max() <= 1e-5
    assert np.abs(ours[:1] - run_onnx(path, images[:1])).max() <= 1e-5, "the batch is of any size"
    assert 0 <= path.stat().st_size - 4 * net.count_params() < 4096, "four bytes a parameter, and little else"


def test_onnx_of_every_kind_of_layer(tmp_path):
    onnx = pytest.importorskip("onnx")
    net, path = odd_network(), tmp_path / "odd.onnx"
    export(net, "onnx", path)
    x = np.random.default_rng(0).normal(size=(6, 3, 19, 19)).astype(np.float32)
    assert np.allclose(net.forward(x), run_onnx(path, x), atol=1e-5)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    maxout = ["Gemm", "Reshape", "ReduceMax"]
    before = ["Conv", "BatchNormalization", "Relu", "MaxPool", "AveragePool", "Flatten"]
    assert operators == [*before, *maxout, *maxout, "Relu", "Gemm"]
    assert [opset.version for opset in model.opset_import] == [13]


def conv(name="conv", **how):
    return name, Conv2d(1, 3, 3, rng=np.random.default_rng(0), **how)


def dense(name, *sizes):
    return name, Dense(*sizes, rng=np.random.default_rng(1))


ENDS = {
    "a layer called logits that is not the last": [dense("logits", 4, 3), ("act", ReLU())],
    "a maxout layer called logits in the middle": [
        ("logits", MaxoutDense(4, 3, 2, relu=True, rng=np.random.default_rng(0))),
        dense("fc", 3, 2),
    ],
    "a last layer called images": [dense("fc", 4, 3), dense("images", 3, 2)],
    "ends in a convolution": [conv()],
    "ends in pooling": [conv(stride=2), ("pool", AvgPool2d(2))],
    "ends in flatten": [conv("images"), ("pool", MaxPool2d(2)), ("flat", Flatten())],
    "ends in batch normalisation": [conv(), ("bn", BatchNorm2d(3))],
    "ends in dropout": [dense("fc", 4, 3), ("logits", Dropout(0.5))],
    "is dropout only": [("drop", Dropout(0.5))],
    "a ReLU before a dense layer": [("act", ReLU()), dense("fc", 4, 3)],
}


@pytest.mark.parametrize("what", list(ENDS))
def test_onnx_of_any_names_and_any_last_layer(what, tmp_path):
    pytest.importorskip("onnx")
    net = trained(Network(ENDS[what]))
    flat = isinstance(ENDS[what][-2:][0][1], (Dense, MaxoutDense)) or "before a dense" in what
    x = np.random.default_rng(2).normal(size=(5, 4) if flat else (5, 1, 12, 9)).astype(np.float32)
    export(net, "onnx", tmp_path / "net.onnx")
    assert np.allclose(net.forward(x), run_onnx(tmp_path / "net.onnx", x), atol=1e-5)


def test_onnx_of_layers_that_do_not_fit_together_is_rejected_in_one_line(tmp_path):
    pytest.importorskip("onnx")
    for layers in ([dense("a", 4, 3), dense("b", 5, 2)], [dense("a", 4, 3), conv()]):
        with one_line("layers may not fit together"):
            export(Network(layers), "onnx", tmp_path / "x.onnx")


# --- PyTorch -------------------------------------------------------------------------------------------


def torch_lenet(net):
    """The module that someone else would write: maxout as a Linear, a reshape and a maximum."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional as F  # noqa: N812

    class LeNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            c1, c2 = net["conv1"].out_channels, net["conv2"].out_channels
            self.conv1, self.conv2 = torch.nn.Conv2d(1, c1, 5), torch.nn.Conv2d(c1, c2, 5)
            self.k = getattr(net["fc3"], "k", 1)
            self.fc3 = torch.nn.Linear(c2 * 16, net["fc4"].in_features * self.k)
            self.fc4 = torch.nn.Linear(net["fc4"].in_features, 10)

        def forward(self, x):
            x = F.max_pool2d(self.conv1(x), 2)
            x = F.max_pool2d(self.conv2(x), 2).flatten(1)
            return self.fc4(F.relu(self.fc3(x)).unflatten(1, (-1, self.k)).amax(2))

    return LeNet()


@pytest.mark.parametrize("stage", ["unpruned", "k=1", "masked"])
@pytest.mark.parametrize("target", ["safetensors", "torch"])
def test_a_pytorch_module_loads_it_strictly_and_agrees(stages, images, stage, target, tmp_path):
    torch = pytest.importorskip("torch")
    net, path = stages[stage], tmp_path / ("x.safetensors" if target == "safetensors" else "x.pt")
    export(net, target, path)
    if target == "safetensors":
        state = pytest.importorskip("safetensors.torch").load_file(path)
    else:
        state = torch.load(path, weights_only=True)
    module = torch_lenet(net)
    module.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs = module(torch.from_numpy(images[:200])).numpy()
    ours = net.forward(images[:200])
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, np.abs(ours).max())


def test_batchnorm_loads_strictly_and_agrees():
    torch = pytest.importorskip("torch")
    net = trained(Network([("conv", Conv2d(2, 3, 3, rng=np.random.default_rng(0))), ("bn", BatchNorm2d(3))]))
    module = torch.nn.Sequential()
    module.add_module("conv", torch.nn.Conv2d(2, 3, 3))
    module.add_module("bn", torch.nn.BatchNorm2d(3))
    module.load_state_dict({k: torch.from_numpy(v) for k, v in to_state_dict(net).items()}, strict=True)
    x = np.random.default_rng(1).normal(size=(2, 2, 6, 5)).astype(np.float32)
    theirs = module.eval()(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(net.forward(x), theirs, atol=1e-6)
    back = from_state_dict({k: v.numpy() for k, v in module.state_dict().items()}, net)
    assert np.array_equal(back.forward(x), net.forward(x))


def maxout_of_feature_maps():
    """A network whose convolutions are maxout layers, one filter of which is masked out."""
    net = lenet5(3, 4, 5, 2, conv_k=2, rng=0)
    masks = {name: np.ones(array.shape, bool) for name, array in net["conv2"].params.items()}
    masks["weight"][1, 0] = masks["bias"][1, 0] = False
    net.set_masks({f"conv2.{name}": mask for name, mask in masks.items()})
    return net, np.random.default_rng(3).normal(size=(6, 1, 28, 28)).astype(np.float32)


def test_maxout_over_feature_maps_in_onnx_in_pytorch_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    net, x = maxout_of_feature_maps()
    export(net, "onnx", tmp_path / "x.onnx")
    assert np.allclose(net.forward(x), run_onnx(tmp_path / "x.onnx", x), atol=1e-5)
    state = to_state_dict(net)
    z = torch.from_numpy(x)
    for name in ("conv1", "conv2"):
        weight, bias = (torch.from_numpy(state[f"{name}.{key}"]) for key in ("weight", "bias"))
        z = torch.nn.functional.conv2d(z, weight, bias).unflatten(1, (-1, 2)).amax(2)
        z = torch.nn.functional.max_pool2d(z, 2)
    assert np.allclose(z.numpy(), net.forward(x, until="pool2"), atol=1e-5)
    back = from_state_dict(state, net)
    assert np.allclose(back.forward(x), net.forward(x), atol=1e-5)


def test_flattening_puts_neuron_j_of_unit_u_in_row_u_k_plus_j():
    net = lenet5(2, 2, 3, 4, rng=0)
    ours, flat = net.params()["fc3.weight"], to_state_dict(net)["fc3.weight"]
    assert all(np.array_equal(flat[u * 4 + j], ours[u, j]) for u, j in np.ndindex(3, 4))
    assert flat.flags.c_contiguous and not np.shares_memory(flat, ours)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_state_dict_comes_back_as_a_network(stages, images, suffix, tmp_path):
    pytest.importorskip({"pt": "torch"}.get(suffix, suffix))
    net, path = stages["k=2"], tmp_path / f"x.{suffix}"
    export(net, {"pt": "torch"}.get(suffix, suffix), path)
    for like in (net, json.loads(json.dumps(net.architecture()))):
        back = from_state_dict(read_state(path), like)
        assert np.array_equal(back.forward(images[:50]), net.forward(images[:50]))
    if suffix == "safetensors":
        with pytest.importorskip("safetensors").safe_open(path, "np") as file:
            assert json.loads(file.metadata()["architecture"]) == net.architecture()
    back = from_state_dict(read_state(path.rename(tmp_path / "weights.bin")), net)  # whatever its name
    assert np.array_equal(back.forward(images[:5]), net.forward(images[:5]))
    assert np.array_equal(from_state_dict(net.state_dict(), net).forward(images[:5]), net.forward(images[:5]))


# --- mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("fc3.bias"), r"missing \['fc3.bias'\]"),
        (lambda s: s.update(more=np.zeros(2)), r"unknown \['more'\]"),
        (lambda s: s.update({"fc3.weight": s["fc3.weight"].T}), "'fc3.weight' is float32"),
        (lambda s: s.update({"fc4.bias": np.full(10, np.nan)}), "'fc4.bias' holds NaN"),
        (lambda s: s.update({"fc4.bias": np.array(["a"] * 10)}), "'fc4.bias' is <U1"),
    ],
)
def test_a_state_that_does_not_fit_is_told(change, says):
    net = lenet5(2, 2, 3, 4, rng=0)
    state = to_state_dict(net)
    change(state)
    with pytest.raises(MnpError, match=says):
        from_state_dict(state, net)


def test_files_that_hold_no_state_are_told(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"not a PyTorch file")
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(MnpError, match=r"give a \.safetensors, \.pt or \.pth file"):
        read_state(tmp_path / "x.npz")
    with pytest.raises(MnpError, match="cannot be read"):
        read_state(tmp_path / "nowhere.safetensors")
    torch = pytest.importorskip("torch")
    with pytest.raises(MnpError, match="is not a state_dict that can be read safely"):
        read_state(tmp_path / "x.pt")
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / "nested.pt")
    with pytest.raises(MnpError, match="'state_dict' is a dict, not a tensor"):
        read_state(tmp_path / "nested.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(MnpError, match=r"write model.state_dict\(\) by torch.save\)$"):
        read_state(tmp_path / "module.pt")
    torch.save({"w": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "half.pt")
    assert read_state(tmp_path / "half.pt")["w"].tolist() == [1.5, -2.0]
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(MnpError, match="no dictionary of tensors"):
        read_state(tmp_path / "list.pt")


def test_a_flat_maxout_weight_is_told_the_way():
    net = lenet5(2, 2, 3, 4, rng=0)
    with pytest.raises(MnpError, match=r"from_state_dict takes PyTorch's shapes"):
        net.load_state_dict(to_state_dict(net))
    with pytest.raises(MnpError, match=r"in the network$"):
        net.load_state_dict({**net.state_dict(), "fc4.bias": np.zeros(3)})


class Evil:
    """Unpickling this would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(("relu", "dtype"), [(True, np.float32), (False, np.float64)])
def test_a_masked_out_neuron_does_not_win_in_an_exported_network(relu, dtype, tmp_path):
    for library in ("onnx", "onnxruntime", "safetensors", "torch"):
        pytest.importorskip(library)
    options = {"rng": 0, "dtype": dtype, "backend": "textbook"}
    net = Network([("fc", MaxoutDense(5, 4, 3, relu=relu, **options)), ("out", Dense(4, 2, **options))])
    mask = np.ones_like(net["fc"].params["weight"], bool)
    mask[:, 1] = False
    mask[0, 2] = False
    net["fc"].params["bias"][...] = -3  # a neuron of zeros would win
    net = apply_masks(net, {"fc.weight": mask})
    assert net["fc"].masked_out().sum() == 5
    x = np.random.default_rng(1).normal(size=(50, 5)).astype(dtype)
    expected = net.forward(x)
    for target in ("onnx", "safetensors", "torch", "checkpoint"):
        export(net, target, tmp_path / target)
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "onnx")
    logits = {
        "onnx": session.run(None, {"images": x.astype(np.float32)})[0],
        "safetensors": from_state_dict(read_state(tmp_path / "safetensors"), net).forward(x),
        "torch": from_state_dict(read_state(tmp_path / "torch"), net).forward(x),
        "checkpoint": load_network(tmp_path / "checkpoint").forward(x),
    }
    for target, given in logits.items():
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5, err_msg=target)


def test_a_pickle_in_a_pytorch_file_is_never_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(MnpError, match="read safely"):
        read_state(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


class Twisted(ReLU):
    """A layer of somebody's own."""


@pytest.mark.parametrize("target", ["onnx", "safetensors", "torch", "checkpoint"])
def test_a_layer_that_a_target_cannot_express_is_told(target, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    net = Network([("fc", Dense(2, 2)), ("twist", Twisted())])
    with pytest.raises(MnpError, match=r"layer 'twist' is a Twisted, which .* cannot express"):
        export(net, target, tmp_path / "x")
    masked_net = masked(net.replace("twist", [("act", ReLU())]), 0.5)
    with pytest.raises(MnpError, match=r"is a Sparse.*export the masked network"):
        export(sparse_network(masked_net), target, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "torch"])
def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch, tmp_path, capsys, package):
    save_network(tmp_path / "net.npz", lenet5(2, 2, 3, 4, rng=0))
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    words = ["export", tmp_path / "net.npz", "--to", package, "--out", tmp_path / "x"]
    refused(capsys, words, f'this needs the package {package}: pip install "mnp[verify]"')


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_exports_and_takes_back(tmp_path, capsys, images):
    pytest.importorskip("safetensors")
    net = masked(lenet5(4, 4, 8, 3, rng=0))
    checkpoint, out = tmp_path / "net.npz", tmp_path / "net.safetensors"
    save_network(checkpoint, net)
    assert main(["export", str(checkpoint), "--to", "safetensors", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{net.count_params():,} parameters" in said and f"{out.stat().st_size:,} bytes" in said
    other = tmp_path / "other.npz"
    save_network(other, lenet5(4, 4, 8, 3, rng=9))
    back = tmp_path / "back.npz"
    argv = ["export", str(other), "--state", str(out), "--to", "checkpoint", "--out", str(back)]
    assert main(argv) == 0
    assert np.array_equal(load_network(back).forward(images[:9]), net.forward(images[:9]))


def test_a_checkpoint_or_an_output_that_cannot_be_used_is_one_line(tmp_path, capsys):
    good, missing = tmp_path / "net.npz", tmp_path / "missing.npz"
    save_network(good, lenet5(2, 2, 3, 4, rng=0))
    for path, to, says in (
        (missing, tmp_path / "x", "cannot be read"),
        (good, missing / "x", "cannot be written"),
        (good, ".", ".: is a folder: give the name of a file"),
    ):
        refused(capsys, ["export", path, "--to", "safetensors", "--out", to], says)
    assert list(tmp_path.iterdir()) == [good]
