"""The candidate's side of `mnp check --model`, in the child process: every stage on a user's network."""

import os

from mnp.errors import MnpError
from mnp.verify import candidate
from mnp.verify.frameworks import Jax, Torch, UnfitError
from mnp.verify.models import OPTIONAL, STAGES, Golden, notes_of


def measure(where, source=0):
    """Run every stage on a candidate; `source` is that of `models.Golden`.

    Yields (stage, dict of name -> array or None where nothing is offered, what stopped the stage or "").

    Raises MnpError for a file that does not import, a function that it does not have, and a model whose
    parameters are not those of the network.
    """
    path, _, name = where.removeprefix(candidate.MODEL).rpartition(":")
    if not path:
        raise MnpError(f"{name}: give FILE:function; the function returns the model")
    os.environ["JAX_ENABLE_X64"] = "1"  # before the file imports JAX
    file, golden = candidate.load_module(path), Golden(source)
    if not callable(getattr(file, name, None)):
        raise MnpError(f"{path} has no function {name}")

    def said(error):
        if isinstance(error, UnfitError):
            return str(error)
        return f"raised {candidate.one_line(error)}{candidate.where_raised(error, file.__file__)}"

    try:
        net = getattr(file, name)()
        in_jax = isinstance(net, tuple) and len(net) == 2 and callable(net[1])
        if not in_jax and not hasattr(net, "named_parameters"):
            kind = type(net).__name__
            raise UnfitError(f"the model is a {kind}: return an nn.Module, or JAX's (params, forward)")
        model = (Jax if in_jax else Torch)(file, net, golden)
    except MnpError:
        raise
    except (Exception, SystemExit) as error:
        raise MnpError(f"{path}: {said(error)}") from error
    for stage in STAGES:
        if stage in OPTIONAL and not hasattr(file, stage):
            yield stage, None, ""
            continue
        notes, problem = {}, ""
        try:
            notes.update(notes_of(stage, model, golden))
        except (Exception, SystemExit) as error:
            problem = said(error)
        yield stage, notes, problem
