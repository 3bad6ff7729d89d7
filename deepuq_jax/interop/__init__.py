"""Results, draws and programs for other libraries.

`to_dataframe` and `to_dataset` turn a `UQResult` into a table of pandas and a data set of xarray. `to_datatree` draws
from a posterior for ArviZ. `to_numpyro` and `from_numpyro` exchange posteriors with the guides of NumPyro. `export`
writes the predictive function to a file that runs without this library. Each library is imported only when it is
needed.
"""

from deepuq_jax.interop.dataset import to_dataset
from deepuq_jax.interop.datatree import to_datatree
from deepuq_jax.interop.guide import from_numpyro, to_numpyro
from deepuq_jax.interop.program import export
from deepuq_jax.interop.table import to_dataframe

__all__ = ["export", "from_numpyro", "to_dataframe", "to_dataset", "to_datatree", "to_numpyro"]
