"""A process may compile any number of functions that are made from one `def`, and of modules."""

import copy

import pytest
import torch
from torch import nn

from kernels.compiling import give_own_code, with_own_code

ONE_GRAPH = {"fullgraph": True, "dynamic": False, "backend": "eager"}
MANY = 10  # dynamo refuses the ninth compilation of one code object


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def adder(number: int):
    def add(x: torch.Tensor, *, twice: bool = False) -> torch.Tensor:
        """Add a number."""
        return x + (2 * number if twice else number)

    return add


def test_functions_of_one_def_are_counted_apart():
    for number in range(MANY):
        compiled = torch.compile(with_own_code(adder(number)), **ONE_GRAPH)
        assert torch.equal(compiled(torch.zeros(2)), torch.full((2,), float(number)))


def test_a_copy_is_the_function_with_its_closure_defaults_and_name():
    function = adder(3)
    function_copy = with_own_code(function)
    assert function_copy(torch.zeros(1), twice=True) == 6
    assert function_copy(torch.zeros(1)) == 3
    assert (function_copy.__name__, function_copy.__doc__) == ("add", "Add a number.")
    assert function_copy.__code__ is not function.__code__


@pytest.mark.parametrize("thing", [len, nn.Linear(1, 1), torch.relu])
def test_what_has_no_code_object_is_refused(thing):
    with pytest.raises(TypeError, match="only a Python function"):
        with_own_code(thing)


@torch.no_grad()
def test_modules_are_counted_apart_and_work_as_before():
    for width in range(1, MANY + 1):
        module = nn.Linear(4, width)
        images = torch.randn(2, 4)
        expected = module(images)
        give_own_code(module)
        assert torch.equal(module(images), expected)
        module.compile(**ONE_GRAPH)
        assert torch.equal(module(images), expected)
    assert len(module.state_dict()) == 2


@torch.no_grad()
def test_a_copied_module_calls_itself_and_not_the_original():
    module = nn.Linear(2, 2)
    give_own_code(module)
    twin = copy.deepcopy(module)
    twin.weight.zero_()
    twin.bias.zero_()
    assert not twin(torch.ones(1, 2)).any()
    assert module(torch.ones(1, 2)).any()


def test_hooks_still_run():
    module = nn.Linear(2, 2)
    give_own_code(module)
    calls = []
    module.register_forward_hook(lambda *_: calls.append(True))
    module(torch.ones(1, 2))
    assert calls == [True]
