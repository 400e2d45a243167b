"""`mnp sizes`: the full-size VGG16, counted before and after neuron pruning."""

import os


def add_parser(subparsers):
    p = subparsers.add_parser(
        "sizes",
        help="count the full-size VGG16 before and after neuron pruning",
        description="Count parameters and multiply-adds of VGG16 by formula, nothing trained. The reduction "
        "is against the network without maxout.",
    )
    p.add_argument("--results", metavar="DIR", help="also write DIR/vgg16-sizes.json")


def main(args):
    from mnp.experiments.vgg_sizes import to_table, vgg16_sizes
    from mnp.files import atomic_write, make_folder, to_json
    from mnp.pruning.sizes import FORMULAS

    rows = vgg16_sizes()
    print(to_table(rows))
    if args.results:
        make_folder(args.results)
        path = f"{args.results}/vgg16-sizes.json"
        names = ("params", "macs", "reduction", "compression")
        formulas = {name: FORMULAS[name] for name in names}
        command = "mnp sizes" if os.path.isabs(args.results) else f"mnp sizes --results {args.results}"
        atomic_write(path, to_json({"command": command, "formulas": formulas, "image": 224, "rows": rows}))
        print(f"results: {path}")
