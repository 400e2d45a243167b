"""Python processes that import the right modules, whatever files lie in the folder they start in."""

import importlib
import os
import sys

from mnp.errors import MnpError


def import_path(*last):
    """Order sys.path so that no file of the user's hides a module of Python or of an installed package.

    `python -m mnp`, an empty entry of PYTHONPATH or a notebook put the working folder first, where a
    `random.py` would be imported by NumPy instead of Python's own.

    Parameters
    ----------
    *last : str
        Folders that come last, as the working folder does.

    Returns
    -------
    path : list of str
        The standard library, all other folders in their order, then those that come last.
    """
    library = os.path.dirname(os.__file__)
    first = [library, os.path.join(library, "lib-dynload")]
    behind = {os.path.realpath(folder) for folder in (os.getcwd(), *last)}

    def rank(folder):
        return 0 if folder in first else 2 if os.path.realpath(folder) in behind else 1

    return sorted((folder or os.getcwd() for folder in sys.path), key=rank)


def python_command(code, *last):
    """Command line of a new Python process that runs `code` with the packages of this one.

    It imports this very copy of `mnp`, and everything else in the order of `import_path(*last)`.
    PYTHONPATH and the working folder are out of its way while it starts (options -E and -P).
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    start = f"import sys; sys.path.insert(0, {root!r}); import mnp; sys.path[:] = {import_path(*last)!r}"
    return [sys.executable, "-E", "-P", "-B", "-c", f"{start}; {code}"]


def import_function(name, what):
    """The function of a user's module by "module:function"; modules are also found in the working folder.

    Raises MnpError, which begins with `what`, if there is no such module or function.

    >>> import_function("math:sqrt", "policy")(4)
    2.0
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that no file there hides a module of Python
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise MnpError(f"{what} = {name}: cannot be imported ({error})") from None
    if not callable(found):
        raise MnpError(f"{what} = {name}: is a {type(found).__name__}, not a function")
    return found
