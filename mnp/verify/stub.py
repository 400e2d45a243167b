"""Write the kernel interface as a module to fill in: signatures and docstrings; and programs that do not
use Python, from the examples of this package.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path

from mnp.verify import reference

EXAMPLES = Path(__file__).with_name("examples")
LANGUAGES = {  # the file of each example, and what an unwritten kernel returns there
    "c": ("kernels.c", "    return 0; /* yours to write */"),
    "javascript": ("kernels.js", "  return; // yours to write"),
    "rust": ("kernels.rs", "    false // yours to write"),
}

HEADER = '''"""Kernels to fill in. `mnp check {file}` checks them, except those that still raise.

Rules for all: dtype in = dtype out (float32, float64), so np.zeros and np.empty need dtype=x.dtype; inputs
are not changed; wherever there is a maximum the lowest index wins a tie, and a NaN wins over any number.
Errors that a docstring mentions are not checked; `shapes` there is mnp.kernels.shapes.
"""

import numpy as np  # noqa: F401
'''


def stub_source(names=None, file="my_kernels.py"):
    """Return the source of a module in which the named kernels raise NotImplementedError.

    The default is all plain kernels, without the fused ones. The docstrings are those of `textbook` and
    `fused`; their examples run as doctests; that of the module calls itself `file`.

    Raises MnpError for a name that is not a kernel.

    >>> print(stub_source(["relu_forward"]).splitlines()[-1].strip())
    raise NotImplementedError("relu_forward is yours to write")
    """
    parts = [HEADER.format(file=file)]
    for name in names or reference.KERNELS:
        function = reference.function(name)
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(function, "func", function)))).body[0]
        tree.args.args = [
            argument for argument in tree.args.args if argument.arg != "backend"
        ]  # of fused ones
        signature, docstring = ast.unparse(tree.args), ast.get_docstring(tree, clean=False)
        message = f"{name} is yours to write"
        parts.append(
            f'def {name}({signature}):\n    """{docstring}"""\n    raise NotImplementedError("{message}")\n'
        )
    return "\n\n".join(parts)


def program_source(language, example=False):
    """Return the source of a program for `mnp check --command`, in "c", "javascript" or "rust".

    In an example five or six kernels are written; otherwise they are to be filled in.

    >>> print(program_source("c")[:13])
    /* Kernels in
    """
    file, unwritten = LANGUAGES[language]
    source = (EXAMPLES / file).read_text(encoding="utf-8")
    written = r"(?ms) +/[/*] the kernel itself.*?(?=^})"
    return source if example else re.sub(written, f"{unwritten}\n", source)
