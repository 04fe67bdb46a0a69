"""Before anything runs: what would be trained, what it costs, and what fits where."""
