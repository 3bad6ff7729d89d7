"""Speed of every backend and peer, with checked results."""
