"""Kernels of a GPU, timed by what its hardware does with tiles, waves and bytes."""
