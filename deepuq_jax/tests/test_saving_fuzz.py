"""Mutated files of models: `load` returns a model or raises ValueError, in bounded time and memory."""

import hashlib
import os
import re
import tracemalloc

import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepuq_jax as dq
from deepuq_jax.tests.golden.write import __file__ as golden

FILES = sorted(name for name in os.listdir(os.path.dirname(golden)) if name.endswith(".safetensors"))
MUTATIONS = int(os.environ.get("DEEPUQ_EXAMPLES", "10000"))
CHECKSUM = re.compile(rb'("sha256":")([0-9a-f]{64})(")')
NUMBERS = [b"0", b"-1", b"99999999999", b"1e999", b"null", b"[]", b"{}", b'""', b"true", b'"\\ud800"', b"NaN"]


def contents():
    return [_bytes(name) for name in FILES]


def _bytes(name):
    with open(os.path.join(os.path.dirname(golden), name), "rb") as file:
        return file.read()


SEEDS = contents()


@st.composite
def mutated(draw):
    """Draw a file that is changed in one to four places, and whose checksum is then repaired or not."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1)) if data else 0
        kind = draw(st.sampled_from(["flip", "insert", "delete", "splice", "number", "cut"]))
        if kind == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 32))]
        elif kind == "splice":
            other = draw(st.sampled_from(SEEDS))
            start = draw(st.integers(0, len(other) - 1))
            length = draw(st.integers(1, 64))
            data[at : at + length] = other[start : start + length]
        elif kind == "number":
            data = bytearray(_with_number(bytes(data), at, draw(st.sampled_from(NUMBERS))))
        else:
            del data[at:]
    return _sealed(bytes(data)) if draw(st.booleans()) else bytes(data)


def _with_number(data, at, number):
    """Replace the first number of the header from byte `at` on."""
    found = re.compile(rb"(?<=[:,\[])\d+").search(data, at)
    return data[: found.start()] + number + data[found.end() :] if found else data


def _sealed(data):
    """Repair the checksum, and a length of the header that exceeds the file."""
    end = data.find(b"}}", 8)
    if end > 0 and len(data) >= 8:
        header = int.from_bytes(data[:8], "little")
        if header > len(data):
            data = (len(data) - 8).to_bytes(8, "little") + data[8:]
    found = CHECKSUM.search(data)
    if found is None:
        return data
    zeroed = data[: found.start(2)] + b"0" * 64 + data[found.end(2) :]
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    return data[: found.start(2)] + digest + data[found.end(2) :]


def check(path, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def run(data):
        path.write_bytes(data)
        for read in (dq.load, dq.saving.read_metadata):
            error = None
            try:
                read(path)
            except ValueError as refusal:
                error = refusal
            assert error is None or str(path) in str(error)

    run()


def test_repaired_checksums_are_right():
    for data in SEEDS:
        assert _sealed(data) == data


@pytest.mark.slow
def test_mutated_files(tmp_path):
    check(tmp_path / "model", 100)


@pytest.mark.long
def test_ten_thousand_mutated_files(tmp_path):
    check(tmp_path / "model", MUTATIONS)


@pytest.mark.slow
def test_damaged_large_files_take_less_than_three_times_their_size(tmp_path):
    path = tmp_path / "model"
    dq.save(path, dq.BayesianLinear(512, 512, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0)))
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = whole[8:start]
    hostile = {
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "cut": whole[: len(whole) // 2],
        "a header of the whole file": (len(whole) - 8).to_bytes(8, "little") + whole[8:],
        "a huge shape": _sealed(whole[:8] + header.replace(b"[512,512]", b"[8e9,512]", 1) + whole[start:]),
        "brackets": len(whole).to_bytes(8, "little") + b"[" * len(whole),
    }
    for name, data in hostile.items():
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=re.escape(str(path))):
                dq.load(path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3 * len(data), name
