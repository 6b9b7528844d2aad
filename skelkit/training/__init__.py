"""Recipes, and what carries them out: Lightning modules, data, checkpoints."""
