"""The protocol of Bayesian models.

The modules state the contract, hold a model's variables, partition and combine models, call them with state, and draw
functions from them.
"""
