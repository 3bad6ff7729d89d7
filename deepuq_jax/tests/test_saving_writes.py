"""A file is written whole or not at all."""

import os
import resource

import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.saving import atomic
from deepuq_jax.tests.saved_models import flax_stack, linear


@pytest.fixture
def file(tmp_path):
    """Return the path of a small file, whose model is not that of `linear`."""
    path = tmp_path / "model"
    dq.save(path, dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0)))
    return path


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_directory_is_left_alone(file):
    before = file.read_bytes()
    file.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            dq.save(file, linear())
    finally:
        file.parent.chmod(0o755)
    assert file.read_bytes() == before


def fail(*args, **kwargs):
    raise OSError("no space left")


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(name, file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(atomic.os, name, fail)
    with pytest.raises(OSError, match="no space left"):
        dq.save(file, linear())
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_a_full_disk_leaves_the_old_file(file):
    """A limit on the size of files stands in for a full disk, so the write itself fails."""
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    model = flax_stack()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            dq.save(file, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_an_interrupt_leaves_the_old_file(file):
    before = file.read_bytes()

    def chunks():
        yield b"part"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_file(file, chunks())
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_the_file_is_flushed_before_the_rename_and_its_directory_after_it(file, monkeypatch):
    calls, real = [], {name: getattr(os, name) for name in ("fsync", "replace")}
    for name, function in real.items():
        monkeypatch.setattr(atomic.os, name, lambda *args, n=name, f=function: (calls.append(n), f(*args)))
    dq.save(file, linear())
    assert calls == ["fsync", "replace", "fsync"]


def test_a_link_still_points_at_its_file(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    dq.save(link, linear())
    assert link.is_symlink()
    assert dq.load(file).in_features == 4
