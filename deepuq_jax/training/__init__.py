"""Training: the state, a step, an epoch, schedules of the KL's weight, and `fit` around them."""
