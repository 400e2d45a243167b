"""All recipes under one roof, MNIST's and LFW's: by name, and from the JSON in a run's folder."""

from pathlib import Path

from mnp.errors import MnpError
from mnp.experiments.faces_recipes import FACES, FacesExperiment
from mnp.experiments.folder import RECIPE
from mnp.experiments.recipes import EXPERIMENTS, Experiment
from mnp.experiments.typed import from_dict, nearest
from mnp.files import read_json

ALL = EXPERIMENTS | FACES


def named(name):
    """The experiment of that name; an unknown one is refused with the names that come near.

    >>> named("digit")
    Traceback (most recent call last):
    mnp.errors.MnpError: no recipe 'digit': did you mean digits? (`mnp list` shows all)
    """
    if name not in ALL:
        raise MnpError(f"no recipe {name!r}{nearest(name, ALL)} (`mnp list` shows all)")
    return ALL[name]


def experiment_from(values):
    """An experiment from the dict that `to_dict` made; only the data of faces have a `variant`."""
    data = values.get("data") if isinstance(values, dict) else None
    kind = FacesExperiment if isinstance(data, dict) and "variant" in data else Experiment
    return from_dict(kind, values)


def read_experiment(out):
    """The experiment whose folder this is."""
    path = Path(out) / RECIPE
    if not path.exists():
        raise MnpError(f"{out}: holds no run (there is no {RECIPE})")
    try:
        return experiment_from(read_json(path, "a recipe"))
    except MnpError as error:
        text = str(error)
        raise MnpError(text if text.startswith(str(path)) else f"{path}: {text}") from None
