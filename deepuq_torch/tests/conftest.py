"""Fixtures of the tests."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Run torch in a single thread: the tensors are small, and idle threads cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
