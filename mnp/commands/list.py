"""`mnp list`: the recipes."""


def add_parser(subparsers):
    subparsers.add_parser(
        "list", help="show the recipes", description="Show the recipes that `mnp run` knows."
    )


def main(args):
    from mnp.experiments.catalogue import ALL
    from mnp.experiments.steps import steps_of

    width = max(map(len, ALL))
    for e in ALL.values():
        steps = steps_of(e)
        epochs = sum(step.epochs for step in steps)
        print(f"{e.name:{width}}  {e.about}")
        print(f"{'':{width}}  {len(steps)} steps, {epochs} epochs, data: {e.data.name}")
