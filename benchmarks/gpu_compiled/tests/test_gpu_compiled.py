"""Kernels and bytes of compiled programs: small programs by hand, and the committed record."""

import json
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu_compiled import command, hlo, plot, target, workloads
from benchmarks.gpu_compiled.traffic import kernels

RECORD = command.RESULTS / "gpu-compiled.json"
# Bytes of each array: 1,000 entries of four bytes.
ARRAY = 4000
PROGRAM = """
%fused_add (p0: f32[1000], p1: f32[1000]) -> f32[1000] {
  %p0 = f32[1000]{0} parameter(0)
  %p1 = f32[1000]{0} parameter(1)
  ROOT %sum = f32[1000]{0} add(%p0, %p1)
}

%fused_row (q0: f32[1000], q1: s32[]) -> f32[1] {
  %q0 = f32[1000]{0} parameter(0)
  %q1 = s32[] parameter(1)
  %twice = f32[1000]{0} add(%q0, %q0)
  ROOT %row = f32[1]{0} dynamic-slice(%twice, %q1), dynamic_slice_sizes={1}
}

%fused_write (r0: f32[1000], r1: f32[1], r2: s32[]) -> f32[1000] {
  %r0 = f32[1000]{0} parameter(0)
  %r1 = f32[1]{0} parameter(1)
  %r2 = s32[] parameter(2)
  ROOT %written = f32[1000]{0} dynamic-update-slice(%r0, %r1, %r2)
}

%body (state: (s32[], f32[1000])) -> (s32[], f32[1000]) {
  %state = (s32[], /*index=1*/f32[1000]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[1000]{0} get-tuple-element(%state), index=1
  %read = f32[1]{0} fusion(%x, %i), kind=kLoop, calls=%fused_row
  %next = f32[1000]{0} fusion(%x, %read, %i), kind=kLoop, calls=%fused_write
  ROOT %again = (s32[], f32[1000]{0}) tuple(%i, %next)
}

%cheap (c: f32[1000]) -> f32[1000] {
  ROOT %c = f32[1000]{0} parameter(0)
}

%dear (d: f32[1000]) -> f32[1000] {
  %d = f32[1000]{0} parameter(0)
  ROOT %copied = f32[1000]{0} copy(%d)
}

ENTRY %main (a: f32[1000], b: f32[1000], n: s32[]) -> f32[1000] {
  %a = f32[1000]{0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %n = s32[] parameter(2)
  %total = f32[1000]{0} fusion(%a, %b), kind=kLoop, calls=%fused_add, metadata={op_name="jit(f)/add"}
  %product = (f32[1000]{0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="library"
  %first = f32[1000]{0} get-tuple-element(%product), index=0
  %start = (s32[], f32[1000]{0}) tuple(%n, %total)
  %loop = (s32[], f32[1000]{0}) while(%start), body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %end = f32[1000]{0} get-tuple-element(%loop), index=1
  %chosen = f32[1000]{0} conditional(%n, %end, %first), branch_computations={%cheap, %dear}
  ROOT %result = f32[1000]{0} bitcast(%chosen)
}
"""


def by_name(text):
    return {kernel.name: kernel for kernel in kernels(hlo.parse(text))}


def test_kernels_and_bytes_of_a_program_written_by_hand():
    found = by_name(PROGRAM)
    assert list(found) == ["total", "product", "read", "next", "copied"]
    assert (found["total"].read, found["total"].written, found["total"].source) == (2 * ARRAY, ARRAY, "jit(f)/add")
    # The workspace of a library is not counted.
    assert (found["product"].read, found["product"].written) == (2 * ARRAY, ARRAY)
    # Of an array that is sliced or updated, only the row and its index count.
    assert (found["read"].launches, found["read"].read, found["read"].written) == (7, 8, 4)
    assert (found["next"].launches, found["next"].read, found["next"].written) == (7, 8, 4)
    assert (found["copied"].opcode, found["copied"].bytes) == ("copy", 2 * ARRAY)


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="Expected a loop with a known number of iterations; got loop"):
        kernels(hlo.parse(PROGRAM.replace("known_trip_count", "unknown")))


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="with an ENTRY"):
        hlo.parse("nothing")


def test_a_program_of_this_machine_is_read():
    def loop(x):
        return jax.lax.scan(lambda carry, _: (jnp.sin(carry) @ carry, None), x, None, length=5)[0]

    found = kernels(hlo.parse(jax.jit(loop).lower(jnp.ones((8, 8))).compile().as_text()))
    assert max(kernel.launches for kernel in found) == 5


@pytest.mark.slow
def test_every_workload_can_be_traced():
    for workload in (*workloads.QUICK, workloads.WORKLOADS[-1]):
        assert workload.lower(None).as_text()


@pytest.mark.skipif(find_spec("jax_cuda13_plugin") is not None, reason="the plugin is installed")
def test_without_the_plugin_the_command_names_it():
    with pytest.raises(SystemExit, match=rf"Expected the package jax_cuda13_plugin=={jax.__version__}"):
        command.main(["--quick"])


@pytest.mark.skipif(find_spec("jax_cuda13_plugin") is None, reason="needs the extra gpu-compiled")
@pytest.mark.long
def test_the_command_compiles_and_writes(tmp_path):
    file = tmp_path / "compiled.json"
    record = command.main(["--quick", "--only", "Adam", "--json", str(file)])
    assert json.loads(file.read_text())["rows"] == record["rows"]
    assert record["rows"][0]["launches"] > record["rows"][0]["copies"]


def test_an_unknown_program_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--only", "trian"])
    assert "Expected --only to match a program; got trian." in capsys.readouterr().err


def test_the_target_is_the_card_of_the_data_file():
    assert target.bandwidth() == pytest.approx(3.35e12, rel=0.01)
    assert 'name: "NVIDIA H100' in target.text_of(target.specification())
    assert json.loads(Path(target.__file__).with_name("h100.json").read_text())["source"].startswith("https://")


def test_the_committed_record_has_every_program():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert not record["quick"]
    assert [row["name"] for row in record["rows"]] == [workload.name for workload in workloads.WORKLOADS]
    assert RECORD.with_suffix(".md").read_text(encoding="utf-8") == command.as_markdown(record) + "\n"


def test_the_picture_has_a_row_per_program():
    pytest.importorskip("matplotlib.figure")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    moved, launches = plot.picture(record).axes
    assert [len(line.get_xdata()) for line in moved.lines] == 2 * [len(record["rows"])]
    assert len(launches.patches) == len(record["rows"])
