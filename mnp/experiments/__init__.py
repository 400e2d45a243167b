"""Recipes, the rounds of a run, and the runner."""
