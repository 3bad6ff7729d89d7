"""The programs of the README run, and the first of them predicts well."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[2] / "README.md"
_REPORT = """
import json
print(json.dumps({"probs": result.probs.tolist(), "y": y[1400:].tolist()}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not README.exists(), reason="an installed package has no README beside it")
def test_the_ten_lines_give_an_accurate_and_calibrated_prediction():
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    program, *others = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert sum(bool(line) and not line.startswith(("import", "from")) for line in program.splitlines()) <= 10
    assert len(others) == 3
    # A reader runs the program with all of XLA's optimizations, which pay off over ten thousand steps.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", "".join([program, _REPORT, *others])]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    printed = run.stdout.splitlines()
    found = {name: np.array(values) for name, values in json.loads(printed[-1]).items()}
    probs, y = found["probs"], found["y"]
    accuracy = float((probs.argmax(1) == y).mean())
    assert float(printed[0]) == pytest.approx(accuracy, abs=1e-6)
    # Other people wrote the last images, so a network without uncertainty has an accuracy of only about 0.92.
    assert accuracy > 0.88
    nll = -np.log(probs[np.arange(len(y)), y]).mean()
    assert nll < 0.4
    # The mean confidence is near the accuracy.
    assert abs(probs.max(axis=1).mean() - accuracy) < 0.1
