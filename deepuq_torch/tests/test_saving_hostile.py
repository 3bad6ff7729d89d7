"""Damaged and hostile files, and writes that fail."""

import hashlib
import json
import os
import resource
import stat
import subprocess
import sys

import pytest
import torch
from torch import nn

import deepuq_torch as dt
from deepuq_torch import _saving_atomic
from deepuq_torch._saving_file import parse
from deepuq_torch.tests.refusals import refuses


def content_of(tmp_path, model):
    dt.save(tmp_path / "source", model, metadata={"note": '"sha256":"' + "0" * 64 + '"'})
    return (tmp_path / "source").read_bytes()


def split(content):
    """Split a file into its header and its arrays."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header, arrays, start=None):
    """Join a header and arrays, with the right checksum."""
    if not isinstance(header, bytes):
        header["__metadata__"]["sha256"] = "0" * 64
        header = json.dumps(header, separators=(",", ":")).encode()
    content = (len(header) if start is None else start).to_bytes(8, "little") + header + arrays
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest)


def with_description(content, change):
    """Return the file with a changed description of the model."""
    header, arrays = split(content)
    description = json.loads(header["__metadata__"]["model"])
    changed = change(description)
    header["__metadata__"]["model"] = json.dumps(description if changed is None else changed)
    return joined(header, arrays)


def refuses_file(path, content, named):
    path.write_bytes(content)
    refuses(ValueError, f"(?s){named}.*The file is .*{path.name}", lambda: dt.load(path))


def test_every_flipped_bit_is_found(tmp_path):
    content = content_of(tmp_path, dt.BayesianLinear(1, 1))
    for i in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[i] ^= 1 << bit
            with pytest.raises(ValueError, match=r"^Expected"):
                parse(damaged)


def test_every_truncation_is_found(tmp_path):
    content = content_of(tmp_path, dt.BayesianLinear(1, 1))
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^Expected"):
            parse(bytearray(content[:length]))
    for more in (b"\0", content):
        with pytest.raises(ValueError, match=r"^Expected"):
            parse(bytearray(content + more))


def test_a_damaged_file_is_named(tmp_path):
    content = content_of(tmp_path, dt.BayesianLinear(1, 1))
    refuses_file(tmp_path / "short", content[:-1], "checksum")
    refuses_file(tmp_path / "empty", b"", "header")
    refuses_file(tmp_path / "header", (2**63).to_bytes(8, "little") + content[8:], "header .*9223372036854775808 bytes")
    (tmp_path / "short").write_bytes(content[:-1])
    refuses(ValueError, "checksum.*short", lambda: dt.read_metadata(tmp_path / "short"))


def test_files_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "plain")
    refuses(ValueError, "one checksum", lambda: dt.load(tmp_path / "plain"))
    torch.save(dt.BayesianLinear(1, 1).state_dict(), tmp_path / "pickle")
    refuses(ValueError, "header", lambda: dt.load(tmp_path / "pickle"))


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(description):
        for name in path:
            description = description[name]
        description[last] = value

    return change


def _without(*path):
    *path, last = path

    def change(description):
        for name in path:
            description = description[name]
        del description[last]

    return change


_LAYER = ("model", "layers", 0)
DESCRIPTIONS = {
    "newer": (_set("format_version", 2), "format_version to be 1.*got 2. Update"),
    "a version that is no int": (_set("format_version", True), "format_version"),
    "no version": (_without("format_version"), "format_version"),
    "a list": (lambda description: [description], "an object with a format_version"),
    "another key": (_set("more", 1), "keys.*more"),
    "no writer": (_set("writer", {"package": "deepuq_torch"}), "writer"),
    "mode": (_set("mode", "test"), "mode"),
    "JAX keys": (_set("keys", {"key": "threefry2x32"}), "random keys"),
    "metadata": (_set("metadata", []), "metadata"),
    "unknown class": (_set("model", "class", "Transformer"), "Transformer"),
    "no class": (_without("model", "class"), "class"),
    "no object": (_set("model", []), "class"),
    "class of a layer": (_set(*_LAYER, "class", "BayesianConv"), r"layers\.0.*BayesianConv"),
    "missing setting": (_without("model", "activation"), "settings"),
    "unknown setting": (_set("model", "dropout", 0.1), "settings.*dropout"),
    "activation": (_set("model", "activation", "elu"), "activation.*elu"),
    "negative size": (_set("model", "input_dim", -3), "input_dim"),
    "float size": (_set("model", "input_dim", 3.0), "input_dim"),
    "huge size": (_set(*_LAYER, "in_features", 2**70), "an integer below 2.31"),
    "sizes": (_set("model", "hidden_dims", [5]), "sizes"),
    "number of layers": (_set("model", "hidden_dims", []), "layers.*1"),
    "sizes as a number": (_set("model", "hidden_dims", 4), "hidden_dims"),
    "layers as a number": (_set("model", "layers", 4), "layers"),
    "likelihood": (_set("model", "likelihood", {"class": "Poisson"}), "likelihood.*Poisson"),
    "smoothing": (
        _set("model", "likelihood", {"class": "Categorical", "class_weights": None, "label_smoothing": 0.1}),
        "label_smoothing",
    ),
    "noise": (_set("model", "likelihood", {"class": "Gaussian", "sigma": 0.0}), "sigma"),
    "prior": (_set(*_LAYER, "prior", {"class": "LaplacePrior", "scale": 1.0}), r"layers\.0\.prior.*LaplacePrior"),
    "prior of arrays": (_set(*_LAYER, "prior", "sigma", {"array": "sigma"}), "sigma.*array"),
    "prior sigma": (_set(*_LAYER, "prior", "sigma", -0.1), "sigma"),
    "huge prior": (_set(*_LAYER, "prior", "mu", 10**400), "that a float can hold"),
    "bias": (_set(*_LAYER, "use_bias", False), "use_bias"),
    "estimator": (_set(*_LAYER, "estimator", "flipout"), "flipout"),
    "compute dtype": (_set(*_LAYER, "dtype", "bfloat16"), "dtype"),
    "dtype": (_set(*_LAYER, "param_dtype", "float64"), r"layers\.0\.weight_posterior\.mu.*float32.*float64"),
    "mask": (_set(*_LAYER, "prune_mask", True), r"no 'layers\.0\.prune_mask\.weight'"),
    "mask as a number": (_set(*_LAYER, "prune_mask", 1), "prune_mask"),
    "deep": (_set("model", json.loads('{"class":"Stack","members":[' * 200 + "]}" * 200)), "arrays"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_cannot_be_right(name, tmp_path):
    change, named = DESCRIPTIONS[name]
    content = content_of(tmp_path, dt.BayesByBackpropMLP(3, (4,), 2))
    refuses_file(tmp_path / "model", with_description(content, change), named)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}{}",
        '{"format_version": NaN}',
        '{"a": 1, "a": 2}',
        '{"a": 1e999}',
        "[" * 100_000,
        '"\ud800"',
        "9" * 5000,
    ],
)
def test_json_that_is_not_strict(text, tmp_path):
    header, arrays = split(content_of(tmp_path, dt.BayesianLinear(1, 1)))
    header["__metadata__"]["model"] = text
    refuses_file(tmp_path / "model", joined(header, arrays), "description")


def _change_entry(name, **change):
    def apply(header, arrays):
        header[name] |= change
        return header, arrays

    return apply


def _raw(old, new):
    """Replace bytes of the header."""

    def apply(header, arrays):
        header["__metadata__"]["sha256"] = "0" * 64
        return json.dumps(header, separators=(",", ":")).encode().replace(old, new, 1), arrays

    return apply


def _rename(header, arrays):
    header["weight_posterior.sigma"] = header.pop("weight_posterior.mu")
    return header, arrays


def _leave_out(header, arrays):
    del header["weight_posterior.rho"]
    return header, arrays


_MU = "weight_posterior.mu"
HEADERS = {
    "another format": (_raw(b'"format":"deepuq"', b'"format":"others"'), "format.*others"),
    "no metadata": (_raw(b'"format":"deepuq",', b""), "header"),
    "a model that is no string": (_raw(b'"format":"deepuq","model":"', b'"format":"deepuq","model":1,"x":"'), "header"),
    "the checksum twice": (_raw(b'"format"', b'"sha256":"' + b"1" * 64 + b'","format"'), "one checksum.*2"),
    "not UTF-8": (_raw(b"bias_posterior.mu", b"bias_posterior.m\xff"), "header to be JSON"),
    "unknown dtype": (_change_entry(_MU, dtype="F128"), "known dtype"),
    "dtype of another size": (_change_entry(_MU, dtype="F64"), "known dtype"),
    "dtype of the same size": (_change_entry(_MU, dtype="I32"), "int32.*float32"),
    "another shape": (_change_entry(_MU, shape=[2, 1]), r"weight_posterior\.mu.*\(2, 1\).*\(1, 2\)"),
    "a shape that is too large": (_change_entry(_MU, shape=[2**62, 2**62]), "known dtype"),
    "a negative shape": (_change_entry(_MU, shape=[-1, -2]), "known dtype"),
    "a shape of booleans": (_change_entry(_MU, shape=[True, 2]), "known dtype"),
    "offsets": (_change_entry(_MU, data_offsets=[0, 4]), "known dtype"),
    "negative offsets": (_change_entry(_MU, data_offsets=[-8, 0]), "known dtype"),
    "an overlap": (_change_entry(_MU, data_offsets=[0, 8]), "start at byte"),
    "a gap": (_change_entry(_MU, data_offsets=[80, 88]), "start at byte"),
    "more in an entry": (_change_entry(_MU, more=1), "known dtype"),
    "a name": (_rename, r"no 'weight_posterior\.mu'; a 'weight_posterior\.sigma' that the model does not have"),
    "an array left out": (_leave_out, "the arrays"),
    "more bytes": (lambda header, arrays: (header, arrays + b"\0"), "fill"),
    "fewer bytes": (lambda header, arrays: (header, arrays[:-1]), "fill"),
    "an entry that is a list": (lambda header, arrays: (header | {_MU: []}, arrays), "known dtype"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_cannot_be_right(name, tmp_path):
    change, named = HEADERS[name]
    header, arrays = change(*split(content_of(tmp_path, dt.BayesianLinear(2, 1))))
    refuses_file(tmp_path / "model", joined(header, arrays), named)


def test_own_parts_of_another_package_are_refused(tmp_path):
    """The other package may write arrays of other layouts under the same names."""
    model = nn.Sequential(dt.BayesianLinear(1, 1))
    content = content_of(tmp_path, model)
    (tmp_path / "model").write_bytes(with_description(content, _set("writer", "package", "deepuq_jax")))
    refuses(ValueError, "own classes.*deepuq_torch.*deepuq_jax", lambda: dt.load(tmp_path / "model", like=model))


def test_booleans_are_zero_or_one(tmp_path):
    class Mask(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([True, False]))

    header, _ = split(content_of(tmp_path, Mask()))
    refuses_file(tmp_path / "model", joined(header, b"\1\2"), "booleans")


def test_arrays_may_stand_in_any_order(tmp_path):
    """An array may also start at an address that its dtype cannot have."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("flag", torch.tensor(True))
            self.register_buffer("wide", torch.tensor([1.5, -2.5], dtype=torch.float64))

    header, arrays = split(content_of(tmp_path, Mixed()))
    assert header["wide"]["data_offsets"] == [0, 16]  # writers align
    header["flag"]["data_offsets"], header["wide"]["data_offsets"] = [0, 1], [1, 17]
    (tmp_path / "model").write_bytes(joined(header, arrays[16:] + arrays[:16]))
    again = dt.load(tmp_path / "model", like=Mixed())
    assert again.wide.tolist() == [1.5, -2.5]
    assert again.flag


def _failing(*args):
    raise OSError("no space left")


@pytest.mark.parametrize("step", ["replace", "fsync", "fdopen"])
def test_a_failed_write_keeps_the_old_file(step, tmp_path, monkeypatch):
    path = tmp_path / "model"
    dt.save(path, dt.BayesianLinear(1, 1))
    before = path.read_bytes()
    monkeypatch.setattr(_saving_atomic.os, step, _failing)
    with pytest.raises(OSError, match="no space left"):
        dt.save(path, dt.BayesianLinear(2, 2))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


FULL = """
import resource, signal, sys
import deepuq_torch as dt

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    dt.save(sys.argv[1], dt.BayesianLinear(100, 100))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no limit of a file's size")
def test_a_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "model"
    dt.save(path, dt.BayesianLinear(1, 1))
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError\n"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_where_no_file_can_be_is_refused(tmp_path):
    layer = dt.BayesianLinear(1, 1)
    with pytest.raises(IsADirectoryError, match=r"^Expected path to be the name of a file"):
        dt.save(tmp_path, layer)
    with pytest.raises(FileNotFoundError):
        dt.save(tmp_path / "missing" / "model", layer)
    assert not list(tmp_path.iterdir())


def test_a_link_is_followed_and_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "model", tmp_path / "link"
    link.symlink_to(target)
    dt.save(link, dt.BayesianLinear(1, 1))
    assert link.is_symlink()
    assert dt.load(target).in_features == 1
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(os.stat(target).st_mode) == stat.S_IMODE(os.stat(tmp_path / "plain").st_mode)
