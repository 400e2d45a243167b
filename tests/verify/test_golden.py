"""Golden vectors: the frozen set is what the code still says, in both formats; PyTorch reads it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from one_line import one_line

from mnp.cli import main
from mnp.errors import MnpError
from mnp.kernels import KERNELS, default_backend
from mnp.nn import SGD, Network, loss_and_grads
from mnp.verify import golden, reference, safetensors_file
from mnp.verify.judge import close
from mnp.verify.models import Golden, KeepThese

FROZEN = Path(__file__).parents[1] / "golden"
MANIFEST = json.loads((FROZEN / "manifest.json").read_text(encoding="utf-8"))
STEMS = [*reference.OUTPUTS, "pipeline"]


def frozen(stem):
    with np.load(FROZEN / f"{stem}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def fresh():
    return golden.vectors(MANIFEST["seed"])


def test_the_frozen_set_is_small_and_whole():
    names = {path.name for path in FROZEN.iterdir()}
    about = {"manifest.json", "manifest.schema.json", "README.md"}
    assert names == {*about, *(f"{s}.{e}" for s in STEMS for e in ("npz", "safetensors"))}
    assert sum(path.stat().st_size for path in FROZEN.iterdir()) < 2 << 20


def test_the_manifest_fits_its_schema_and_another_one_does_not():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FROZEN / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(MANIFEST, schema)
    for wrong in ({"version": 1}, {"kernels": {"x": {}}}, {"files": {"x": {"y": {"shape": [-1]}}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(MANIFEST | wrong, schema)


def test_the_manifest_is_what_the_code_says(fresh):
    again = json.loads(json.dumps(fresh[1]))
    assert again | {"mnp": ""} == MANIFEST | {"mnp": ""}


@pytest.mark.parametrize("stem", STEMS)
def test_the_frozen_set_is_what_the_code_says(fresh, stem):
    old, new = frozen(stem), fresh[0][stem]
    assert list(old) == list(new)
    for key, array in new.items():
        assert (old[key].shape, old[key].dtype) == (array.shape, array.dtype), key
        tolerance = 1e-9 if array.dtype == np.float64 else 1e-6 if array.dtype == np.float32 else 0.0
        assert close(old[key], array, tolerance, least=1e-3).all(), key


@pytest.mark.parametrize("stem", STEMS)
def test_both_formats_are_written_as_they_were_frozen_and_fit_the_manifest(stem):
    npz, data = frozen(stem), (FROZEN / f"{stem}.safetensors").read_bytes()
    assert safetensors_file.to_bytes(npz) == data
    pytest.importorskip("safetensors")
    theirs = safetensors_file.from_bytes(data)
    assert npz.keys() == theirs.keys() == MANIFEST["files"][stem].keys()
    for key, array in npz.items():
        assert array.dtype == theirs[key].dtype and array.tobytes() == theirs[key].tobytes()
        entry = MANIFEST["files"][stem][key]
        assert entry["shape"] == list(array.shape) and entry["dtype"] == array.dtype.name
    if stem == "pipeline":
        assert all(entry["meaning"] for entry in MANIFEST["files"][stem].values())


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_the_default_backend_passes_by_the_manifest_alone(kernel):
    """As someone who reads only the manifest would do it: load, call, compare."""
    arrays, entry = frozen(kernel), MANIFEST["kernels"][kernel]

    def value(of):
        if isinstance(of, list):
            return tuple(map(value, of))
        return arrays[of["array"]].copy() if isinstance(of, dict) else of

    assert len(entry["cases"]) >= 3
    for case in entry["cases"]:
        arguments = {name: value(v) for name, v in case["arguments"].items()}
        with np.errstate(invalid="ignore"):
            returned = getattr(default_backend(), kernel)(*arguments.values())
        names = list(case["outputs"])
        if returned is None:
            got = [array for name in names for array in arguments[name]]
        else:
            got = returned if len(names) > 1 else [returned]
        wanted = [v for name in names for v in np.atleast_1d(case["outputs"][name])]
        for right, mine in zip(map(value, wanted), got, strict=True):
            if right is None:
                assert mine is None
                continue
            tolerance = 0.0 if right.dtype.kind in "iub" else entry["tolerance"]["float32"]
            assert close(right, mine, tolerance).all(), case["note"]


def test_the_pipeline_holds_together():
    p = frozen("pipeline")
    _, k = p["win_counts"].shape
    assert np.array_equal(p["win_counts"], (p["winner"][:, :, None] == np.arange(k)).sum(0))
    assert np.array_equal(p["order"], np.argsort(-p["win_counts"], axis=1, kind="stable"))
    assert np.array_equal(p["neurons_kept"], np.sort(p["order"][:, : k - 1], axis=1))
    last = p["after_step/fc3.weight"][-1]
    small = np.take_along_axis(last, p["neurons_kept"][:, :, None], axis=1)
    assert np.array_equal(p["pruned/fc3.weight"], small)
    weights = ["conv1.weight", "conv2.weight", "fc3.weight", "fc4.weight"]
    assert [key for key in p if key.startswith("mask/")] == [f"mask/{name}" for name in weights]
    for name in weights:
        mask, weight = p[f"mask/{name}"], p[f"pruned/{name}"]
        assert mask.sum() == mask.size - round(mask.size * 0.5)
        assert np.abs(weight[mask]).min() >= np.abs(weight[~mask]).max()
        assert not p[f"masked_after_step/{name}"][~mask].any() and p[f"masked_after_step/{name}"][mask].all()


def test_ten_steps_in_float32_stay_within_the_manifests_tolerance():
    p, golden, tolerance = (
        frozen("pipeline"),
        Golden(str(FROZEN)),
        MANIFEST["pipeline"]["tolerance"]["float32"],
    )
    single = [entry | ({"dtype": "float32"} if "dtype" in entry else {}) for entry in golden.architecture]
    initial = {name: array.astype(np.float32) for name, array in golden.params(0).items()}
    net = Network.from_architecture(single, initial)
    optimizer = SGD(net, MANIFEST["pipeline"]["momentum"], MANIFEST["pipeline"]["weight_decay"])
    for step in range(10):
        images, labels, keeps = golden.batch(step)
        loss, logits = loss_and_grads(net, images.astype(np.float32), labels, KeepThese(keeps))
        assert logits.dtype == np.float32
        assert close(p["loss"][step], loss, tolerance) and close(p["logits"][step], logits, tolerance).all()
        for name, gradient in net.grads().items():
            assert close(p[f"gradient/{name}"][step], gradient, tolerance, least=1e-2).all(), name
        optimizer.step(MANIFEST["pipeline"]["lr"])
        for name, array in net.params().items():
            assert close(p[f"after_step/{name}"][step], array, tolerance).all(), (step, name)


def test_the_ten_lines_of_the_readme_run(monkeypatch):
    """Their last line is an assert."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    text = (FROZEN.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- golden vectors in PyTorch -->\s*```python\n(.*?)```", text, re.S)
    assert found, "tests/README.md shows how to load the golden vectors"
    monkeypatch.chdir(FROZEN.parent.parent)
    exec(found.group(1), {})


def test_the_command_writes_a_new_folder_and_never_over_another(tmp_path, capsys):
    out = tmp_path / "vectors"
    assert main(["vectors", "--out", str(out), "--seed", "5"]) == 0
    assert "wrote 53 files" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["vectors", "--out", str(out), "--seed", "5"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert main(["vectors", "--out", str(tmp_path / "again"), "--seed", "5"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
    assert json.loads(first["manifest.json"])["seed"] == 5
    assert main(["vectors", "--out", str(tmp_path / "x"), "--seed", "-5"]) == 2


# --- the safetensors file ------------------------------------------------------------------------------


def test_the_library_reads_what_is_written_and_the_other_way_round(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {
        "strided": rng.normal(size=(4, 6))[::2, ::3],
        "fortran": np.asfortranarray(rng.normal(size=(3, 5)).astype(np.float32)),
        "scalar": np.float64(3.5),
        "none": np.zeros((0, 3), np.int64),
        "bool": np.array([[True], [False]]),
        "bytes": np.arange(7, dtype=np.uint8),
        "half": np.arange(3, dtype=np.float16),
        "big": np.arange(4, dtype=">f4"),
    }
    data = safetensors_file.to_bytes(arrays, {"note": "äöü"})
    theirs, ours = library.load(data), safetensors_file.from_bytes(data)
    for name, array in arrays.items():
        assert np.array_equal(theirs[name], array) and np.array_equal(ours[name], array)
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.importorskip("safetensors").safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.metadata() == {"note": "äöü"}
    data = library.save({"a": np.arange(6.0).reshape(2, 3)}, {"k": "v"})
    assert safetensors_file.from_bytes(data)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    data = save({"w": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)})
    assert safetensors_file.from_bytes(data)["w"].tolist() == [1.5, -2.0]


def file_of(header, body=b"\0" * 8):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        file_of({"x": ENTRY})[:-1],
        file_of({"x": ENTRY}) + b"more",
        file_of([1, 2]),
        file_of({"x": {**ENTRY, "shape": [1 << 40, 1 << 40]}}),
        file_of({"x": {**ENTRY, "dtype": "O"}}),
        file_of({"x": {**ENTRY, "data_offsets": [4, 12]}}),
        file_of({"x": {"dtype": "F32"}}),
    ],
)
def test_every_other_file_is_rejected_in_one_line(data):
    pytest.importorskip("safetensors")
    with one_line(r"^x.st: is not a complete safetensors file.{,300}$"):
        safetensors_file.from_bytes(data, "x.st")


def test_types_that_cannot_be_written_or_read_are_reported():
    with pytest.raises(MnpError, match="cannot hold 'x' of type complex128"):
        safetensors_file.to_bytes({"x": np.zeros(2, complex)})
    pytest.importorskip("safetensors")
    with pytest.raises(MnpError, match="'x' is of type U64"):
        safetensors_file.from_bytes(file_of({"x": {**ENTRY, "dtype": "U64", "shape": [1]}}))
