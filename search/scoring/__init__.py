"""From the scores of clips to numbers, how sure they are, and which may be compared."""
