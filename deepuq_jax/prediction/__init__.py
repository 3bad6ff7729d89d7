"""Prediction: streaming moments over draws of the model, and the log predictive density."""
