"""Training: one trial in its folder, its data, steps, epochs and stages, and how it goes on after whatever happens."""
