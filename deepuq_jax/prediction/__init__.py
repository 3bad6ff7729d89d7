"""Predictive moments and the log predictive density of a model."""
