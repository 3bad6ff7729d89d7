"""Comparison of two result files, with their noise taken into account."""
