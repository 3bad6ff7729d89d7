"""Count the kernels, and the bytes they move, of programs compiled for an absent GPU."""
