"""Time and memory against parameters, draws, batch size and devices."""
