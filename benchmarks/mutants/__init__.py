"""How many small faults in the mathematics the tests find."""
