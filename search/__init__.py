"""The search: what is trained next, where, and what came out.

Its commands (run, compare, rescore, table, publish, clean) ask the rooms, each room those after it, and all of
them what stands beside the commands:

    results     the end of a search, and names for what it left
    running     trials on machines, by Ray Tune
    recording   MLflow: runs and registry
    study       what is tried next, by Optuna
    trials      training: data, steps, epochs, stages
    planning    what would be trained, its cost, and what fits where
    scoring     from the scores of clips to numbers
    spaces      one search space a file
"""
