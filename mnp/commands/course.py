"""`mnp course`: the student's folder of the course, out of a clone."""


def add_parser(subparsers):
    p = subparsers.add_parser(
        "course",
        help="write the course's folder to work in: notebooks, files to fill, checks",
        description="Write the student's folder of notebooks/assignments. The course lies in the project's"
        " repository, not in the installed package.",
    )
    p.add_argument("--out", metavar="DIR", required=True, help="a folder that is new or empty")


def main(args):
    import importlib
    import sys
    from pathlib import Path

    from mnp.errors import MnpError

    assignments = Path(__file__).resolve().parents[2] / "notebooks" / "assignments"
    if not (assignments / "make.py").is_file():
        raise MnpError(
            "the course is not part of the installed package: clone the project's repository and run"
            f" `python notebooks/assignments/make.py student --out {args.out}` there"
        )
    sys.path.insert(0, str(assignments))  # its files import each other by name
    try:
        importlib.import_module("make").student(args.out)
    except FileExistsError as error:
        raise MnpError(str(error)) from None
    except ModuleNotFoundError as error:
        raise MnpError(f"{error.name} is missing: python -m pip install pytest") from None
    finally:
        sys.path.remove(str(assignments))
    print(f"wrote {args.out}; read {Path(args.out, 'README.md')}, then: jupyter lab {args.out}")
