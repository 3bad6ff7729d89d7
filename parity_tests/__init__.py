"""deepuq_jax held against deepuq_torch, number by number, on the same noise; `python -m parity_tests` reports."""
