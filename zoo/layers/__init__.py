"""What networks are made of: blocks over time and over pictures, spectrograms inside, attention, recurrence."""
