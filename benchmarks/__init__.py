"""Scripts that compare backends side by side; nothing imports them."""
