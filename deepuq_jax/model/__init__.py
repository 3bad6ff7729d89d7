"""The model protocol: its contract, what a model holds, how it is split, called with state, and drawn."""
