"""Every backend and every peer in one table: training step and prediction, each checked to compute the same thing."""
