"""The runner: a recipe in, a folder of results out."""
