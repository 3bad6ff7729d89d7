"""One session on a GPU: what the card can do, whether results are right there, and how long things take."""
