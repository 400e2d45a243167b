"""A run on faces that takes seconds: drawings for photographs, VGG16 at 1/64 of its width, 32x32 images."""

from mnp.experiments.recipes import (
    FacesExperiment,
    FacesRecipe,
    FacesTrainRecipe,
    PruneRecipe,
    VggRecipe,
    WeightRecipe,
)

TINY = FacesExperiment(
    "tiny-faces",
    data=FacesRecipe(size=32, crop=160, held_out=4),
    model=VggRecipe(width=1 / 64, neurons=16, k=2, dropout=0.1),
    train=FacesTrainRecipe(epochs=2, batch_size=8, warmup=2, shift=1),
    prune=PruneRecipe(epochs=1, layers=("fc6", "fc7")),
    weights=WeightRecipe(reductions=(0.3,), epochs=1),
)
