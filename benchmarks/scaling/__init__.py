"""Time and memory against the size of the network, the draws, the batch and the devices."""
