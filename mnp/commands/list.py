"""`mnp list`: the recipes."""


def add_parser(subparsers):
    subparsers.add_parser(
        "list", help="show the recipes", description="Show the recipes that `mnp run` knows."
    )


def main(args):
    from mnp.experiments.recipes import EXPERIMENTS
    from mnp.experiments.steps import steps_of

    width = max(map(len, EXPERIMENTS))
    for e in EXPERIMENTS.values():
        steps = steps_of(e)
        epochs = sum(step.epochs for step in steps)
        print(f"{e.name:{width}}  {e.about}")
        print(f"{'':{width}}  {len(steps)} steps, {epochs} epochs, data: {e.data.name}")
