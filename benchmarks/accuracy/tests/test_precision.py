"""The benchmark of mixed precision runs on a few images; in its record, bfloat16 is as accurate as float32."""

import json

import numpy as np
import pytest

from benchmarks.accuracy import precision, summary

# Percentage points that bfloat16 may add to the test error.
MOST = 0.1


def test_bfloat16_is_as_accurate_in_the_committed_record():
    record = json.loads(summary.OF_PRECISION.read_text(encoding="utf-8"))
    assert not record["quick"]
    full, low = record["rows"]
    assert (full["dtype"], low["dtype"]) == precision.DTYPES
    assert low["error"] - full["error"] <= MOST


@pytest.mark.long
def test_a_few_images_are_measured():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, 9)).astype(np.float32), rng.integers(0, 10, 20)
    row = precision.measure(data, data, dtype="bfloat16", seed=0, epochs=1)
    assert 0 <= row["error"] <= 100
    assert "| bfloat16 | 0 | 1 |" in precision.as_markdown({"rows": [row]})
