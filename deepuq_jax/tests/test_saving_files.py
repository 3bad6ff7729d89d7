"""Damaged and hostile files are refused, and a failed write leaves the old file."""

import hashlib
import json
import os
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.saving import _container
from deepuq_jax.tests.saved_models import linear

CHECKSUM = "0" * 64


@pytest.fixture
def file(tmp_path):
    """Return the path of a small file."""
    path = tmp_path / "model"
    dq.save(path, dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0)))
    return path


def refused(path, message, **options):
    with pytest.raises(ValueError, match=message) as error:
        dq.load(path, **options)
    assert str(path) in str(error.value)
    with pytest.raises(ValueError, match=str(path)):
        dq.saving.read_metadata(path)


def test_every_flipped_byte_is_found(file):
    whole = file.read_bytes()
    for i in range(len(whole)):
        file.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :])
        with pytest.raises(ValueError, match=str(file)):
            dq.load(file)


def test_every_truncation_and_every_longer_file_is_found(file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(file)):
            dq.load(file)
    for more in (b"\0", whole):
        file.write_bytes(whole + more)
        refused(file, "checksum")


def sealed(header, data=b""):
    """Return the bytes of a file with this header and a right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    return whole.replace(CHECKSUM.encode(), hashlib.sha256(whole).hexdigest().encode(), 1)


def header_of(file):
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"]["sha256"] = CHECKSUM
    return header, data[end:]


def huge(size):
    return lambda header, data: size.to_bytes(8, "little") + sealed(header, data)[8:]


def changed(change):
    def make(header, data):
        change(header)
        return sealed(header, data)

    return make


def entry(name, **values):
    return changed(lambda header: header[name].update(values))


def text_of(pattern, other):
    def make(header, data):
        text = json.dumps(header, separators=(",", ":")).encode()
        assert pattern in text
        return sealed(text.replace(pattern, other), data)

    return make


MU = "weight_posterior.mu"
HEADERS = {
    "header beyond the file": (huge(10**6), "Expected the header to have at most"),
    "header of 2^64 bytes": (huge(2**64 - 1), "Expected the header to have at most"),
    "empty": (lambda header, data: b"", "Expected the header"),
    "no checksum": (changed(lambda header: header["__metadata__"].pop("sha256")), "checksum sha256, once; got 0"),
    "two checksums": (
        text_of(b'{"__metadata__"', b'{"x":{"sha256":"' + b"1" * 64 + b'"},"__metadata__"'),
        "got 2 of them",
    ),
    "another checksum": (lambda header, data: sealed(header, data)[:-1] + b"\1", "the file is damaged"),
    "not UTF-8": (text_of(b'"F32"', b'"\xff"'), "header to be JSON"),
    "NaN": (text_of(b'"F32"', b"NaN"), "the number NaN"),
    "infinity": (text_of(b'"F32"', b"1e999"), "the number 1e999"),
    "name twice": (text_of(b"weight_posterior.mu", b"weight_posterior.rho"), "the key 'weight_posterior.rho' twice"),
    "deep": (lambda header, data: sealed(b'{"sha256":"' + CHECKSUM.encode() + b'","a":' + b"[" * 10**5), "JSON"),
    "a list": (
        lambda header, data: sealed(b'[{"sha256":"' + CHECKSUM.encode() + b'"}]'),
        "an object with __metadata__",
    ),
    "numbers in the metadata": (changed(lambda header: header["__metadata__"].update(format=1)), "to hold strings"),
    "another format": (changed(lambda header: header["__metadata__"].update(format="pt")), "format to be 'deepuq'"),
    "no model": (changed(lambda header: header["__metadata__"].pop("model")), "with a description of the model"),
    "unknown dtype": (entry(MU, dtype="F8_E4M3"), "known dtype"),
    "dtype of another size": (entry(MU, dtype="F64"), "known dtype"),
    "negative shape": (entry(MU, shape=[-1, -1]), "known dtype"),
    "shape of floats": (entry(MU, shape=[1.0, 1]), "known dtype"),
    "huge shape": (entry(MU, shape=[2**62, 2**62]), "known dtype"),
    "huge and empty shape": (entry(MU, shape=[2**63, 0]), "known dtype"),
    "booleans as offsets": (entry(MU, data_offsets=[False, True]), "known dtype"),
    "offsets beyond": (entry(MU, data_offsets=[4, 10**6]), "known dtype"),
    "overlap": (entry(MU, data_offsets=[0, 4]), "to go on at byte"),
    "gap": (changed(lambda header: header.pop("bias_posterior.mu")), "to go on at byte 0; got .* byte 4"),
    "more keys": (entry(MU, more=1), "known dtype"),
    "an entry that is a number": (changed(lambda header: header.update({MU: 3})), "known dtype"),
    "longer than its arrays": (lambda header, data: sealed(header, data + b"\0"), "to end with the file"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_refused(name, file):
    make, message = HEADERS[name]
    file.write_bytes(make(*header_of(file)))
    refused(file, message)


def described(change):
    """Return a function that changes the description of the model in the metadata."""

    def make(metadata, arrays):
        description = json.loads(metadata["model"])
        metadata["model"] = json.dumps(change(description) or description)

    return make


def put(value, *path):
    def change(description):
        inner = description
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return described(change)


def without(*path):
    def change(description):
        inner = description
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]

    return described(change)


def array(name, value):
    def make(metadata, arrays):
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value

    return make


DESCRIPTIONS = {
    "newer format": (put(2, "format_version"), "format_version of at most 1, .*; got 2"),
    "no format": (without("format_version"), "format_version to be a positive int; got None"),
    "format as text": (put("1", "format_version"), "format_version to be a positive int"),
    "not JSON": (lambda metadata, arrays: metadata.update(model="{"), "the description to be JSON"),
    "a list": (described(lambda description: [1]), "the description to be an object"),
    "a field more": (put(1, "more"), "the description with the fields"),
    "a field less": (without("keys"), "the description with the fields"),
    "another mode": (put("test", "mode"), "mode to be 'train', 'eval' or null"),
    "keys of another kind": (put([], "keys"), "keys to be an object"),
    "PRNG keys that are none": (put({"weight_posterior.mu": "fry"}, "keys"), "the PRNG keys are weight_posterior.mu"),
    "unknown class": (put("Linear9", "model", "class"), "class of deepuq_jax or a registered one; got 'Linear9'"),
    "a class that is a list": (put([1], "model", "class"), "class of deepuq_jax or a registered one"),
    "no class": (without("model", "class"), "class of deepuq_jax or a registered one; got None"),
    "unknown prior": (put("FlatPrior", "model", "prior", "class"), "got 'FlatPrior'"),
    "a layer as prior": (put({"class": "function", "name": "relu"}, "model", "prior"), "prior to be a prior"),
    "a prior as model": (
        put({"class": "GaussianPrior", "mu": 0, "sigma": 1}, "model"),
        "weight_posterior.mu is .* missing",
    ),
    "unknown estimator": (put("none", "model", "estimator"), "estimator to be one of weight_sampling|to be one of"),
    "unknown setting": (put(1, "model", "more"), "more is 1 in the file and 'nothing' in the model"),
    "missing setting": (without("model", "out_features"), "with the setting 'out_features'"),
    "size of another kind": (put("1", "model", "in_features"), "in_features to be an integer"),
    "size of a bool": (put(True, "model", "in_features"), "in_features to be an integer"),
    "negative size": (put(-1, "model", "in_features"), "in_features to be a positive int"),
    "huge size": (put(10**30, "model", "in_features"), "in_features to be an int below 2\\^31"),
    "number for a bool": (put(1, "model", "use_bias"), "use_bias to be True or False; got int 1"),
    "negative sigma": (put(-0.5, "model", "prior", "sigma"), "prior sigma to be finite and above zero"),
    "array that is missing": (put({"array": "sigma"}, "model", "prior", "sigma"), "to be in the file; got 'sigma'"),
    "array of another name": (put({"array": MU}, "model", "prior", "mu"), "prior.mu is .* missing in the file"),
    "dtype of whole numbers": (put("int32", "model", "param_dtype"), "dtype to be one of"),
    "own class": (put({"class": "own", "name": "Net", "mode": None}, "model"), "Expected like for a file"),
    "deep": (lambda metadata, arrays: metadata.update(model='{"a":' * 10**5), "moderate depth"),
    "missing array": (array(MU, None), r"weight_posterior.mu is float32\[1, 1\] in the model and missing in the file"),
    "array left over": (array("more", np.zeros(3)), r"more is float64\[3\] in the file and missing"),
    "other shape": (array(MU, np.zeros((1, 2), np.float32)), r"float32\[1, 2\] in the file and float32\[1, 1\] in the"),
    "other dtype": (
        array(MU, np.zeros((1, 1), np.int32)),
        r"int32\[1, 1\] in the file and float32\[1, 1\] in the model",
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_hostile_descriptions_are_refused(name, file):
    change, message = DESCRIPTIONS[name]
    contents = _container.read(file)
    metadata, arrays = dict(contents.metadata), dict(contents.arrays)
    change(metadata, arrays)
    del metadata["sha256"]
    _container.write(file, arrays, metadata)
    with pytest.raises(ValueError, match=message) as error:
        dq.load(file)
    assert str(file) in str(error.value)


def test_an_array_of_booleans_holds_booleans(file):
    header, data = header_of(file)
    header["mask"] = {"dtype": "BOOL", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    file.write_bytes(sealed(header, data + b"\2"))
    refused(file, "to be 0 or 1")


def test_paths_that_hold_no_file_raise_the_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        dq.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        dq.load(tmp_path)
    with pytest.raises(IsADirectoryError, match="to be the name of a file"):
        dq.save(tmp_path, linear())
    with pytest.raises(FileNotFoundError):
        dq.save(tmp_path / "none" / "model", linear())
    with pytest.raises(ValueError, match="to be a regular file"):
        dq.load(os.devnull)


def test_loading_takes_less_than_three_times_the_memory_of_the_file(tmp_path):
    model = dq.BayesianLinear(1000, 1000, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
    dq.save(tmp_path / "model", model)
    size = (tmp_path / "model").stat().st_size
    tracemalloc.start()
    try:
        dq.load(tmp_path / "model")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The count leaves out the arrays of JAX, which are as large as the file.
    assert peak + size < 3 * size


def test_dtypes_without_a_name_in_the_format_are_refused(tmp_path):
    with pytest.raises(TypeError, match="the dtype of x to be one of"):
        _container.write(tmp_path / "x", {"x": np.zeros(2, np.complex64)}, {})
    arrays = {
        "empty": np.zeros((0, 2)),
        "scalar": np.float16(2.0).reshape(()),
        "low": np.asarray(jnp.ones(3, jnp.bfloat16)),
    }
    _container.write(tmp_path / "x", arrays, {"a": "b"})
    contents = _container.read(tmp_path / "x")
    assert contents.metadata["a"] == "b"
    assert {name: (one.dtype, one.shape) for name, one in contents.arrays.items()} == {
        name: (one.dtype, one.shape) for name, one in arrays.items()
    }
