"""Results on real data, next to the published ones: ``python -m benchmarks accuracy uci|mnist``."""
