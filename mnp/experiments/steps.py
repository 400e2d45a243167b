"""A recipe unfolded: the list of steps of a run, each with the one it goes on from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One row of a run.

    index   position in the run; the row's `step`.
    parent  index of the step whose result this one begins with (-1 for the first).
    depth   number of steps before it on its own path; it numbers the random stream, so that arms that
            branch from one network see the same batches.
    k       neurons per unit after the step.
    reduction  target of a weights step, against the unpruned network, or None.
    remaining  the same as a number of parameters, or None.
    match   index of the neurons step whose number of parameters this weights step must reach, or None.
    """

    index: int
    kind: str
    arm: str
    parent: int
    depth: int
    k: int
    epochs: int
    ranking: str = ""
    reduction: float | None = None
    remaining: int | None = None
    match: int | None = None

    @property
    def label(self):
        """Name of the step's files: index, arm, kind and k.

        >>> Step(2, "neurons", "random", parent=1, depth=2, k=2, epochs=5).label
        '02-random-neurons-k2'
        """
        return "-".join([f"{self.index:02d}", *([self.arm] if self.arm else []), self.kind, f"k{self.k}"])


def steps_of(experiment):
    """Unfold a recipe into its steps, in the order in which they run.

    "sequence": one train step; for each ranking the rounds k -> k - 1 down to `to_k`; a weights round for
    each reduction after the last of them.

    "compare", with three neuron rounds (k = 4) as the example and P(k) the parameters then left:

        neurons        k=3      k=2      k=1
        weights        P(3)     P(2)     P(1)     reductions[0]  reductions[1] ...
        after          -        -        P(1) from the network with k=2
                                                  reductions[0] from the network with k=1 ...

    so every column is one size and one number of training iterations, and each arm that can reach the
    size has a row there.

    Returns
    -------
    list of Step
        A step's parent always comes before it.

    >>> from mnp.experiments.catalogue import named
    >>> [s.label for s in steps_of(named("mnist-caffe"))]
    ['00-train-k4', '01-neurons-k3', '02-neurons-k2', '03-neurons-k1']
    """
    e, steps = experiment, []

    def add(kind, arm, parent, k, epochs, **more):
        depth = steps[parent].depth + 1 if parent >= 0 else 0
        steps.append(Step(len(steps), kind, arm, parent, depth, k, epochs, **more))
        return len(steps) - 1

    def add_neurons(arm, ranking, parent):
        rounds = [parent]
        to_k = e.model.k if e.prune.to_k is None else e.prune.to_k
        for k in range(e.model.k - 1, to_k - 1, -1):
            rounds.append(add("neurons", arm, rounds[-1], k, e.prune.epochs, ranking=ranking))
        return rounds

    kind = "gradual" if e.weights.schedule == "gradual" else "weights"

    def add_weights(arm, parent):
        for target in e.weights.rounds:
            parent = add(kind, arm, parent, steps[parent].k, e.weights.epochs, **target)

    root = add("train", "", -1, e.model.k, e.train.epochs)
    if e.plan == "compare":
        rounds = add_neurons("neurons", e.prune.rankings[0], root)
        last = root
        for match in rounds[1:]:
            last = add(kind, "weights", last, e.model.k, e.weights.epochs, match=match)
        add_weights("weights", last)
        add(kind, "after", rounds[-2], steps[rounds[-2]].k, e.weights.epochs, match=rounds[-1])
        add_weights("after", rounds[-1])
    else:
        several = len(e.prune.rankings) > 1
        last = root
        for ranking in e.prune.rankings:
            last = add_neurons(ranking if several else "", ranking, root)[-1]
        add_weights(steps[last].arm, last)
    return steps
