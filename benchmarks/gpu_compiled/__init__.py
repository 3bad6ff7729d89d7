"""Programs compiled for a GPU that need not be there: their kernels and the bytes that these move."""
