"""Accuracy on real data beside published results."""
