"""Comparison of deepuq_jax and deepuq_torch, number by number.

Both packages compute on the same arrays, noise included. ``python -m parity_tests`` writes the report.
"""
