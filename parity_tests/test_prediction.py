"""The cases of prediction find faults in merging draws."""

from __future__ import annotations

import pytest
import torch

from parity_tests import harness
from parity_tests.cases import prediction

_MERGING = [case for case in prediction.CASES if "one draw at a time" in case.name or "in chunks" in case.name]


@pytest.mark.parametrize("case", _MERGING, ids=lambda case: case.name)
def test_merging_without_the_distance_of_the_means_shows(monkeypatch, case):
    """The faulty merge adds up the squares, without the term for the distance of the means."""
    if torch.cuda.is_available() and "in chunks" in case.name:
        pytest.skip("a GPU runs all draws of this case at once")
    expected = harness.run(case, "float64")["jax"]

    def add(self, draws):
        mean, squares, count = draws.mean(dim=0), (draws - draws.mean(dim=0)).square().sum(dim=0), len(draws)
        if self.count:
            mean = self.mean + (mean - self.mean) * (count / (count + self.count))
            squares = squares + self._squares
        self.count, self.mean, self._squares = self.count + count, mean, squares

    monkeypatch.setattr("deepuq_torch._moments.StreamingMoments.add", add)
    with harness.precisely("float64"):
        broken = harness.torch_quantities(case, case.torch_side, case.inputs("float64"))
    shares = {name: harness.error_of(broken[name], expected[name], "float64").share for name in expected}
    assert shares["mean"] <= 1.0 < shares["epistemic_var"]
