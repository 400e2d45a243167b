"""`mnp check --model`: whole programs in PyTorch and JAX, and the mistakes that such programs have."""

import importlib.util
import json
from pathlib import Path

import pytest
from candidates import write
from one_line import refused

from mnp.cli import main
from mnp.errors import MnpError
from mnp.nn import mlp, vgg16
from mnp.nn.checkpoint import save_network
from mnp.verify import candidate, user_models
from mnp.verify.mistakes import pipeline
from mnp.verify.mistakes.pipeline import Guesses
from mnp.verify.models import STAGES, Golden, Textbook, judge_model, mismatch, notes_of

PROGRAMS = Path(__file__).parents[1] / "frameworks"
PROGRAM = PROGRAMS / "torch_program.py"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Judge a program with some of its text changed, in this process: stage -> verdict."""

    # JAX compiles every operation anew, and runs it once.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

    def verdicts(changes, program="torch_program.py", golden=0):
        framework = program.partition("_")[0]
        if importlib.util.find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed")
        if framework == "jax":  # another test may have imported it before `measure` asks for float64
            importlib.import_module("jax").config.update("jax_enable_x64", True)
        source = (PROGRAMS / program).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert source.count(old) == 1, f"the program has changed under this mistake: {old}"
            source = source.replace(old, new)
        where = f"{candidate.MODEL}{write(tmp_path, source)}:model"
        measured, golden = user_models.measure(where, golden), Golden(golden)
        return {v.kernel: v for v in judge_model(measured, golden, Guesses(golden))}

    return verdicts


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_program_passes_in_a_process_of_its_own(framework, capsys):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    assert main(["check", "--model", f"{PROGRAMS / framework}_program.py:model"]) == 0
    assert "10 passed, 0 failed, 0 not implemented" in capsys.readouterr().out


def golden_folder(tmp_path, net):
    save_network(tmp_path / "net.npz", net)
    where = ["--checkpoint", str(tmp_path / "net.npz"), "--out", str(tmp_path / "golden")]
    assert main(["vectors", *where]) == 0
    return str(tmp_path / "golden")


def test_two_maxout_layers_are_judged_by_golden_vectors_of_a_checkpoint(judged, tmp_path):
    folder = golden_folder(tmp_path, mlp((6, 5), k=3, rng=0))
    if importlib.util.find_spec("jsonschema"):
        files = [Path(folder, f"manifest{name}.json").read_text(encoding="utf-8") for name in ("", ".schema")]
        importlib.import_module("jsonschema").validate(*map(json.loads, files))
    found = judged({}, "torch_dense.py", folder)
    assert {stage for stage, v in found.items() if v.status == "passed"} == {*STAGES[:5], "prune"}
    found = judged({"z.max(2).values\n        return": "z.amax(2)\n        return"}, "torch_dense.py", folder)
    assert "shared between ties (amax)" in found["gradients"].looks_like[0]
    found = judged(
        {"z.max(2).values)\n": "z.amax(2))\n", "z.argmax(2)": "F.relu(z).argmax(2)"}, "torch_dense.py", folder
    )
    assert "wins counted after the ReLU" in found["win_counts"].looks_like[0]


def test_a_network_that_pruning_makes_dense_is_judged_too(judged, tmp_path):
    folder = golden_folder(tmp_path, mlp((7,), k=2, rng=0))
    right = {"UNITS, K = (6, 5), 3": "UNITS, K = (7,), 2"}
    found = judged(right, "torch_dense.py", folder)
    assert {stage for stage, v in found.items() if v.status == "passed"} == {*STAGES[:5], "prune"}
    found = judged({**right, "kept[:, :, None], 1)": "0 * kept[:, :, None], 1)"}, "torch_dense.py", folder)
    assert "the first neurons kept" in found["prune"].looks_like[0]


def test_golden_vectors_that_cannot_be_used_are_refused_in_one_line(tmp_path, capsys):
    save_network(tmp_path / "net.npz", vgg16(1 / 64, 32, batchnorm=True))
    for argv, says in (
        (
            ["vectors", "--checkpoint", str(tmp_path / "net.npz"), "--out", str(tmp_path / "a")],
            "without batch",
        ),
        (["check", "--model", f"{PROGRAM}:model", "--golden", str(tmp_path)], "no golden vectors"),
        (["check", "mine.py", "--golden", str(tmp_path)], "give one of MODULE_OR_FILE"),
    ):
        refused(capsys, argv, says)


MISTAKES = {  # name: (stage that shows it first, {text: what stands there instead}, words of the guess)
    "amax": ("gradients", {".max(2).values": ".amax(2)"}, "shared between ties (amax)"),
    "grouping": (
        "forward",
        {"reshape(-1, self.units, self.k)": "reshape(-1, self.k, self.units).transpose(1, 2)"},
        "neurons grouped wrongly",
    ),
    "dropout not scaled": (
        "forward",
        {
            "return self.dropout(F.relu(self.neurons(x)))": "z = self.dropout(F.relu(self.neurons(x)))\n"
            "        z = z / 2 if self.training else z\n        return z"
        },
        "dropout: scaling forgotten",
    ),
    "ReLU after convolutions": (
        "forward",
        {
            "(self.conv1(x), 2)": "(F.relu(self.conv1(x)), 2)",
            "(self.conv2(x), 2)": "(F.relu(self.conv2(x)), 2)",
        },
        "a ReLU after the convolutions",
    ),
    "softmax twice": (
        "forward",
        {"self.out(self.maxout(self.features(x)))": "self.out(self.maxout(self.features(x))).softmax(1)"},
        "a softmax in the model",
    ),
    "sum for mean": (
        "loss",
        {
            "def optimizer": "def loss(logits, labels):\n    "
            "return F.cross_entropy(logits, labels, reduction='sum')\n\n\ndef optimizer"
        },
        "a sum where a mean is agreed",
    ),
    "no decay of biases": (
        "training",
        {
            "net.parameters(), lr": "[{'params': [p for n, p in net.named_parameters() if 'bias' not in n]}, "
            "{'params': [p for n, p in net.named_parameters() if 'bias' in n], 'weight_decay': 0}], lr"
        },
        "no weight decay on the biases",
    ),
    "Nesterov": ("training", {"momentum=0.9": "momentum=0.9, nesterov=True"}, "Nesterov's momentum"),
    "gradients add up": (
        "training",
        {
            "def optimizer": "def train_step(net, optimizer, images, labels):\n    "
            "F.cross_entropy(net(images), labels).backward()\n    optimizer.step()\n\n\ndef optimizer"
        },
        "gradients not set to zero",
    ),
    "counting in training mode": (
        "win_counts",
        {
            "    net.eval()\n": "",
            "net.maxout.neurons(net.features(images))": "net.maxout.dropout(F.relu(HERE))",
        },
        "wins counted in training mode",
    ),
    "counting after the ReLU": (
        "win_counts",
        {"net.maxout.neurons(net.features(images))": "F.relu(HERE)"},
        "wins counted after the ReLU",
    ),
    "old count table": (
        "prune",
        {"(winner, net.maxout.k)": "(winner, 4)"},
        "keeps its columns after pruning",
    ),
    "wrong rows": (
        "prune",
        {
            "    small.load_state_dict(state)": "    for p in ('weight', 'bias'):\n"
            "        name = f'maxout.linear.{p}'\n"
            "        right, state[name] = state[name], torch.zeros_like(state[name])\n"
            "        for u in range(units):\n"
            "            state[name][u : u + n_keep] = right[u * n_keep : (u + 1) * n_keep]\n"
            "    small.load_state_dict(state)"
        },
        "rows of the smaller weight counted as u + m",
    ),
    "last of ties": (
        "rank",
        {
            "torch.argsort(counts, dim=1, descending=True, stable=True)": "counts.argsort(dim=1, "
            "stable=True).flip(1)"
        },
        "of equal counts the last comes first",
    ),
    "unsorted": ("keep", {".sort(1).values": ""}, "not in ascending order"),
    "signed": ("masks", {"p.detach().abs()": "p.detach()"}, "values compared instead of magnitudes"),
    "masks ignored": ("masked_step", {"p *= masks[name]": "pass"}, "the masks ignored"),
    "nobody's": ("forward", {"self.conv2(x)": "self.conv2(x * 1.01)"}, None),
}
HERE = "net.maxout.neurons(net.features(images))"


JAX_MISTAKES = {
    "amax": ("gradients", {"first_max(z) @": "z.max(2) @"}, "shared between ties (amax)"),
    "dropout not scaled": ("forward", {"z / 0.5": "z"}, "dropout: scaling forgotten"),
    "sum for mean": ("loss", {"-picked.mean()": "-picked.sum()"}, "a sum where a mean is agreed"),
    "no decay": ("training", {" + 5e-4 * w": ""}, "weight decay forgotten"),
    "counting after the ReLU": (
        "win_counts",
        {"z = neurons(params, images)\n    return": "z = jax.nn.relu(neurons(params, images))\n    return"},
        "wins counted after the ReLU",
    ),
    "last of ties": (
        "rank",
        {"jnp.argsort(-counts, axis=1, stable=True)": "jnp.argsort(counts, axis=1, stable=True)[:, ::-1]"},
        "of equal counts the last comes first",
    ),
}


@pytest.mark.parametrize(
    ("program", "stage", "changes", "words"),
    [
        pytest.param(f"{framework}_program.py", *mistake, id=f"{framework}, {name}")
        for framework, mistakes in (("torch", MISTAKES), ("jax", JAX_MISTAKES))
        for name, mistake in mistakes.items()
    ],
)
def test_a_mistake_is_found_and_named(judged, program, stage, changes, words):
    found = judged({old: new.replace("HERE", HERE) for old, new in changes.items()}, program)
    failed = [stage for stage, verdict in found.items() if verdict.status == "failed"]
    assert failed[0] == stage
    assert found[stage].lines[0].startswith("first difference: ")
    assert [words in guess for guess in found[stage].looks_like] == ([True] if words else [])
    # What follows from a mistake is no new one.
    for later in failed[1:]:
        assert not words or found[later].looks_like[0].startswith("nothing new: ")


@pytest.mark.parametrize("stage", pipeline.STAGES)
def test_every_mistake_in_pruning_that_shows_is_named(stage):
    """An entry whose results are those of an earlier one is named by that."""
    golden, named = Golden(), 0
    right = dict(notes_of(stage, Textbook(golden), golden))
    for mistake in pipeline.STAGES[stage]:
        notes = right | pipeline.wrong_notes(stage, mistake, golden)
        if any(mismatch(name, array, notes[name]) for name, array in right.items()):
            (words,) = Guesses(golden)(stage, notes)
            again = pipeline.wrong_notes(stage, words, golden)
            assert all(mismatch(name, array, notes[name]) is None for name, array in again.items())
            named += 1
    assert named >= 3


def test_two_mistakes_are_both_named(judged):
    found = judged({**MISTAKES["amax"][1], **MISTAKES["Nesterov"][1], **MISTAKES["unsorted"][1]})
    assert {stage for stage, v in found.items() if v.status == "failed"} >= {"gradients", "training", "keep"}
    assert "amax" in found["gradients"].looks_like[0] and "Nesterov" in found["training"].looks_like[0]


def test_names_may_be_given_and_dropout_may_take_keep(judged):
    names = (
        "NAMES = {'fc3.weight': 'maxout.linear.weight'}\n\n\ndef model():",
        "NAMES = {'fc3.weight': 'nowhere'}\n\n\ndef model():",
    )
    keep = {
        "def forward(self, x):\n        return self.dropout(F.relu(self.neurons(x)))": "def forward(self, x, "
        "keep):\n"
        "        z = F.relu(self.neurons(x)) * (1 if keep is None else keep * 2)\n        return z",
        "def forward(self, x):\n        return self.out(self.maxout(self.features(x)))": "def forward(self, "
        "x, keep=None):\n        return self.out(self.maxout(self.features(x), keep))",
    }
    found = judged({"def model():": names[0], **keep})
    assert {v.status for v in found.values()} == {"passed"}
    with pytest.raises(MnpError, match="no parameter of the model has the shape"):
        judged({"def model():": names[1]})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"nn.Linear(8, 10)": "nn.Linear(8, 10, bias=False)"},
            r"no parameter .* has the shape \(10,\) of fc4.bias",
        ),
        (
            {
                "self.linear = nn.Linear(features, units * k)": "self.w = nn.Parameter(torch.zeros(features, "
                "units * k))"
            },
            r"no parameter .* \(32, 8\) of fc3.weight; maxout.w is its transpose",
        ),
        (
            {"return Net()": "return 1 / 0"},
            r"raised ZeroDivisionError: division by zero \(theirs.py, line \d+\)",
        ),
        ({"def model": "def modell"}, "has no function model"),
    ],
)
def test_a_model_that_cannot_be_checked_is_refused_in_one_line(judged, changes, says):
    with pytest.raises(MnpError, match=says):
        judged(changes)


def test_what_a_file_does_not_offer_is_not_judged_and_errors_are_lines(judged):
    found = judged({"def rank": "def ranked", "def keep(order, n_keep):": "def keep(order):"})
    assert found["rank"].status == "not implemented"
    assert found["keep"].lines[0].startswith("raised TypeError: keep() takes 1 positional argument")
    assert list(found) == list(STAGES)
    found = judged({".max(2).values": ".max(2)[0].detach()"})
    assert "gets no gradient" in found["gradients"].lines[0]


def test_the_command_line_wants_one_candidate(capsys):
    refused(capsys, ["check", "--model", f"{PROGRAM}:model", "--only", "win_counts"], "exclude --model")
    refused(capsys, ["check", "--model", "model"], "give FILE:function")
