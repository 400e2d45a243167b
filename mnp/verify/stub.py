"""Write the agreed kernels as an empty module: signatures and docstrings, nothing inside."""

import ast
import inspect
import textwrap

from mnp.verify import reference

HEADER = '''"""Kernels to fill in. `mnp check {file}` judges them; NotImplementedError means not implemented.

Rules for all: dtype in = dtype out (float32, float64), so np.zeros and np.empty need dtype=x.dtype; inputs
are not changed; wherever there is a maximum the lowest index wins a tie, and a NaN wins over any number.
Errors that a docstring mentions are not judged; `shapes` there is mnp.kernels.shapes.
"""

import numpy as np  # noqa: F401
'''


def stub_source(names=None, file="my_kernels.py"):
    """Give the source of a module in which the named kernels wait to be written.

    Parameters
    ----------
    names : list of str, optional
        Agreed names; the default is all plain kernels, without the fused pairs.
    file : str
        What the module's docstring calls itself.

    Returns
    -------
    source : str
        Python. The docstrings are the textbook's, and their examples run as doctests.

    Raises MnpError for a name that is not agreed.

    >>> print(stub_source(["relu_forward"]).splitlines()[-1].strip())
    raise NotImplementedError("relu_forward is yours to write")
    """
    parts = [HEADER.format(file=file)]
    for name in names or reference.KERNELS:
        function = reference.function(name)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        signature, docstring = ast.unparse(tree.args), ast.get_docstring(tree, clean=False)
        message = f"{name} is yours to write"
        parts.append(
            f'def {name}({signature}):\n    """{docstring}"""\n    raise NotImplementedError("{message}")\n'
        )
    return "\n\n".join(parts)
