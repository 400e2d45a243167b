"""The paper's runs, as data: recipes, the steps they unfold into, and what carries them out."""
