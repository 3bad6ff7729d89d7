"""Benchmarks of speed and accuracy; nothing imports them."""
