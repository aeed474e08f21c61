"""The recipe, the training loop and the run folder."""
