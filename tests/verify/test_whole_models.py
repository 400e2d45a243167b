"""`mnp check --model`: a whole program in PyTorch, and the mistakes that such programs have."""

from pathlib import Path

import pytest
from candidates import write

from mnp.cli import main
from mnp.errors import MnpError
from mnp.verify import candidate, user_models
from mnp.verify.mistakes import pipeline
from mnp.verify.mistakes.pipeline import Guesses
from mnp.verify.models import STAGES, Golden, Textbook, judge_model, mismatch, notes_of

PROGRAM = Path(__file__).parents[1] / "frameworks" / "torch_program.py"


@pytest.fixture
def judged(tmp_path):
    """Judge the program with some of its text changed, in this process: stage -> verdict."""
    pytest.importorskip("torch")

    def verdicts(changes):
        source = PROGRAM.read_text(encoding="utf-8")
        for old, new in changes.items():
            assert source.count(old) == 1, f"the program has changed under this mistake: {old}"
            source = source.replace(old, new)
        where = f"{candidate.MODEL}{write(tmp_path, source)}:model"
        golden = Golden()
        return {v.kernel: v for v in judge_model(user_models.measure(where), golden, Guesses(golden))}

    return verdicts


def test_the_program_passes_in_a_process_of_its_own(capsys):
    pytest.importorskip("torch")
    assert main(["check", "--model", f"{PROGRAM}:model"]) == 0
    assert "10 passed, 0 failed, 0 not implemented" in capsys.readouterr().out


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


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_and_named(judged, name):
    stage, changes, words = MISTAKES[name]
    found = judged({old: new.replace("HERE", HERE) for old, new in changes.items()})
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
    for wrong in pipeline.STAGES[stage].values():
        notes = right | wrong(golden)
        if any(mismatch(name, array, notes[name]) for name, array in right.items()):
            (words,) = Guesses(golden)(stage, notes)
            again = pipeline.STAGES[stage][words](golden)
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
    assert main(["check", "--model", f"{PROGRAM}:model", "--only", "win_counts"]) == 2
    assert main(["check", "--model", "model"]) == 2
    assert "give FILE:function" in capsys.readouterr().err
