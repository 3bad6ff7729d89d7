"""Files of every release can still be loaded, and the models compute what they computed then."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import deepuq_jax as dq
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.golden.write import FOLDER, MODELS, VERSION, computed

FILES = sorted(FOLDER.glob("*.safetensors"))


def test_every_golden_model_has_a_file_of_the_current_format():
    assert {f"format-{VERSION}-{name}" for name in MODELS} <= {path.stem for path in FILES}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_files_load_and_compute_what_they_computed(path):
    model = dq.load(path)
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = computed(model, jnp.asarray(expected["x"], jnp.float32))
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=tolerances.SUMS["float32"], atol=1e-6)
    np.testing.assert_allclose(found["kl"], expected["kl"], rtol=tolerances.SUMS["float32"])
    assert dq.saving.read_metadata(path)["golden"] in path.stem
