"""Names of the files in a run's folder."""

RECIPE, SUMMARY, HISTORY, CHECKPOINTS = "recipe.json", "summary.json", "history.csv", "checkpoints"
SEEDS = "seeds.json"  # only in a folder of several seeds
PAIRS = "pairs.npz"  # only in that of a run on faces
