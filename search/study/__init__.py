"""Optuna: the ledger, what is tried next, and what is stopped early."""
