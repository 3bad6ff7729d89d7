"""The demo, which uses only the public names."""
