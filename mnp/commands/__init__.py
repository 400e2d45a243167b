"""The command line's subcommands: a module each, with `add_parser(subparsers)` and `main(args)`.

`mnp.__main__` imports only the module of the command that was asked for, so `mnp --help` is instant and no
command waits for another's imports. A module of this room imports nothing heavy at its top either.
"""
