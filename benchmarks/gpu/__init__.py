"""One session of measurements on a GPU."""
