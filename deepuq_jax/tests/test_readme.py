"""The README's first program does what it says there."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="an installed package has no README beside it")
def test_the_ten_lines_give_an_accurate_and_calibrated_prediction():
    pytest.importorskip("sklearn")
    program = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert sum(bool(line) and not line.startswith(("import", "from")) for line in program.splitlines()) <= 10
    names: dict = {}
    exec(program, names)
    probs, y = names["result"].probs, names["y"][1400:]
    accuracy = float((probs.argmax(1) == y).mean())
    # The last images are by other writers than the first: a network without uncertainty has about 0.92 here.
    assert accuracy > 0.88
    nll = -float(jnp.log(probs[jnp.arange(len(y)), y]).mean())
    assert nll < 0.4
    # Mean confidence beside accuracy: calibrated in the large.
    assert abs(float(np.asarray(probs).max(axis=1).mean()) - accuracy) < 0.1
