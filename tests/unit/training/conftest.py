"""What every test of training may ask for: one CPU rank, a compiler that remembers nothing."""

import pytest
import torch

from tests.unit.training.factory import opened_world


@pytest.fixture(scope="module")
def world():
    with opened_world() as world:
        yield world


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
