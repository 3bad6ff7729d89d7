"""A comparison with bde, whose networks are sampled, on the data of its wheel."""
