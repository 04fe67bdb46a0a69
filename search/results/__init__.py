"""What a search leaves: its end, its leaderboard, names for all of it, and what nothing needs any more."""
