"""Programs in processes of their own, since the number of CPU devices is fixed when a process starts."""

import json
import os
import subprocess
import sys


def environment_of(count):
    """Return the environment of this process, with `count` CPU devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def run_module(name, *arguments, devices):
    """Run a module, and return the JSON that it prints."""
    command = [sys.executable, "-m", name, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, env=environment_of(devices))
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)
