"""`mnp export`: write a checkpoint for other programs, or read a state_dict into a checkpoint."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "export",
        help="a checkpoint as ONNX, safetensors or PyTorch",
        description="Write the network of a checkpoint for another program: dense, pruned or masked. "
        "With --state, the weights come from a state_dict of the same architecture.",
    )
    p.add_argument("checkpoint", metavar="CHECKPOINT", help="an .npz of a run's checkpoints folder")
    p.add_argument("--to", required=True, choices=("onnx", "safetensors", "torch", "checkpoint"))
    p.add_argument("--out", metavar="FILE", required=True)
    p.add_argument("--state", metavar="FILE", help="a .safetensors, .pt or .pth file with other weights")


def main(args):
    from pathlib import Path

    from mnp.experiments.checkpoint import load_network
    from mnp.verify.export import export, from_state_dict, read_state

    net = load_network(args.checkpoint)
    if args.state is not None:
        net = from_state_dict(read_state(args.state), net)
    export(net, args.to, args.out)
    size, zeros = Path(args.out).stat().st_size, sum(int((a == 0).sum()) for a in net.params().values())
    print(f"wrote {args.out}: {net.count_params():,} parameters, {zeros:,} of them zero, {size:,} bytes")
