"""The demo: a user of the public names."""
