"""Golden vectors: the textbook's outputs as files, for other languages and frameworks.

    DIR/manifest.json           what every array is: shape, type, meaning, tolerance, tie rule
    DIR/<kernel>.npz            arguments and right outputs of a few cases
    DIR/pipeline.npz            ten training steps, win counts, ranking, pruning, masks
    DIR/*.safetensors           the same arrays again
    DIR/README.md               all this for somebody who does not know this package
    DIR/manifest.schema.json    a JSON Schema of the manifest

Inputs are float32, which any language can load exactly; outputs are float64, computed by the textbook in
float64 from those inputs. A user casts the inputs and compares within the manifest's tolerance.
"""

import io
import json
from pathlib import Path

import numpy as np

import mnp
from mnp.errors import MnpError
from mnp.files import atomic_write, make_folder
from mnp.kernels import textbook
from mnp.verify import cases, network, reference, safetensors_file
from mnp.verify.inputs import LAYOUTS
from mnp.verify.stub import EXAMPLES

FORMAT, VERSION = "mnp golden vectors", "1.0"
EXPLAINED = {"README.md": "golden.md", "manifest.schema.json": "manifest.schema.json"}
CASES = 5  # of each kernel
# Cases that come first; the others follow in the order in which they are drawn.
FIRST = ("ties", "ties, overlapping windows", "exact zeros", "NaN in a window", "NaN in a unit")
FIRST += ("need_dx=False",)
LEFT_OUT = (*LAYOUTS, "large magnitudes", "minus infinity everywhere", "one class")

RULES = {
    "layout": "C order; images (N, C, H, W); convolution weight (F, C, KH, KW); dense weight (out, in); "
    "maxout weight (units, k, in), bias (units, k)",
    "ties": "wherever there is a maximum, a sort or a rank, the lowest index comes first",
    "nan": "NaN wins over every number, and the first NaN over later ones",
    "winner": "of a maxout unit: the neuron, 0 to k - 1; of a pooling window: row * size + column inside it",
    "tolerance": "|yours - answer| <= tolerance * max |answer| over the array; integers and bools are equal; "
    "an output that is null is not asked for",
}


def kernel_vectors(kernel, seed=0):
    """Arrays of some of a kernel's cases by "<case>/<name>", and what the manifest says of them."""
    drawn = [c for c in cases.generate(kernel, seed) if c.dtype == "float32" and c.note not in LEFT_OUT]
    drawn.sort(key=lambda c: c.note not in FIRST)
    arrays, entries = {}, []
    for number, case in enumerate(drawn[:CASES]):
        entry = {"case": number, "note": case.note, "arguments": {}, "outputs": {}}
        for kind, values in (("arguments", case.args), ("outputs", case.expected())):
            for name, value in values.items():
                # An argument that is changed in place has a value before and a value after.
                label = f"{name}_after" if kind == "outputs" and name in case.args else name
                entry[kind][name] = safetensors_file.store(arrays, f"{number}/{label}", value)
        entries.append(entry)
    return arrays, entries


def vectors(seed=0, net=None, data="digits"):
    """Compute all golden vectors, {stem of a file: {key: array}}, and their manifest."""
    files, kernels = {}, {}
    for kernel, signature in reference.INTERFACE.items():
        files[kernel], entries = kernel_vectors(kernel, seed)
        looser = cases.LOOSER.get(kernel.split("_")[0], 1.0)
        tolerance = {dtype: looser * value for dtype, value in cases.TOLERANCE.items()}
        kernels[kernel] = {"signature": kernel + signature, "tolerance": tolerance, "cases": entries}
    files["pipeline"], meaning = network.golden_arrays(seed, net, data)
    own = {} if net is None else {"architecture": net.architecture(), "images": f"training images of {data}"}
    own |= {} if net is None else dict.fromkeys(("network", "dropout"), "see architecture")
    described = {
        stem: {key: {"shape": list(a.shape), "dtype": a.dtype.name} for key, a in arrays.items()}
        for stem, arrays in files.items()
    }
    for key, text in meaning.items():
        described["pipeline"][key]["meaning"] = text
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "mnp": mnp.__version__,
        "seed": seed,
        "rules": RULES,
        "kernels": kernels,
        "pipeline": {"tolerance": {"float64": 1e-9, "float32": 1e-5}, **network.SETTINGS, **own},
        "files": described,
    }
    return files, manifest


def write_vectors(out, seed=0, net=None, data="digits"):
    """Write golden vectors into a folder that is new or empty; return the list of files.

    seed, net and data are those of `network.pruning_round`: the small LeNet's, or those of another network.

    Raises MnpError for a folder that is not empty and for a file that cannot be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MnpError(f"{out}: is not an empty folder; choose another --out")
    make_folder(out)
    files, manifest = vectors(seed, net, data)
    written = []
    for stem, arrays in files.items():
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        for suffix, data in (("npz", buffer.getvalue()), ("safetensors", safetensors_file.to_bytes(arrays))):
            written.append(out / f"{stem}.{suffix}")
            atomic_write(written[-1], data)
    texts = {name: (EXAMPLES / file).read_text(encoding="utf-8") for name, file in EXPLAINED.items()}
    for name, text in (texts | {"manifest.json": json.dumps(manifest, indent=1) + "\n"}).items():
        written.append(out / name)
        atomic_write(written[-1], text)
    return written


def read_pipeline(folder):
    """Read the pipeline's arrays by key, and its architecture, from a folder of golden vectors.

    Raises MnpError for a folder that holds none of this version.
    """
    try:
        manifest = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or not manifest["version"].startswith("1."):
            raise ValueError("they are of another version")
        architecture = manifest["pipeline"].get("architecture")
        with np.load(Path(folder, "pipeline.npz"), allow_pickle=False) as file:
            return dict(file), architecture or network.small_lenet(textbook).architecture()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MnpError(f"{folder}: no golden vectors ({error}): `mnp vectors --out` writes some") from None
