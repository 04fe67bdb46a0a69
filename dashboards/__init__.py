"""Pages that show what searches found."""
