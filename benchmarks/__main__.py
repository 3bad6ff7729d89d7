"""Run a benchmark: ``python -m benchmarks COMMAND [options]``."""

from __future__ import annotations

import sys

from benchmarks.command_line import Command, run

# A command's module is imported when the command runs: accuracy works without torch.
COMMANDS = {
    "speed": Command("benchmarks.speed.command", "time training steps and predictions of every library installed"),
    "accuracy": Command("benchmarks.accuracy.command", "score on real data, such as UCI sets and MNIST"),
    "bde": Command("benchmarks.bde.command", "compare with the sampled networks of bde, on its own data"),
    "parity": Command("benchmarks.parity", "compare deepuq_jax with deepuq_torch and with 60-digit arithmetic"),
    "gpu": Command("benchmarks.gpu.command", "measure one GPU in a single session of eight minutes"),
    "gpu-compiled": Command(
        "benchmarks.gpu_compiled.command", "kernels and bytes of programs compiled for an absent H100"
    ),
    "compare": Command("benchmarks.compare.command", "compare two result files, with their noise taken into account"),
    "profile": Command("benchmarks.speed.profile", "measure where the time of a training step goes"),
    "scaling": Command("benchmarks.scaling.command", "measure how time and memory grow with the size of a problem"),
    "mutants": Command("benchmarks.mutants.command", "measure how many small faults in the code the tests find"),
}


def main(argv: list[str]) -> int:
    """Run the named benchmark with the rest of the arguments."""
    run("python -m benchmarks", "Compare speed and accuracy with other libraries.", COMMANDS, argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
