"""One bit of one parameter on one rank is enough to tell ranks apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.training.drift import DriftError, check_alike, fingerprint
from tests.unit.training.saving import LoneWorld


def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last)
    return [kernel, torch.zeros(7), torch.randn(6, 2, generator=generator, dtype=torch.float64)]


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_any_bit_of_any_element_changes_it(data):
    changed = tensors()
    tensor = changed[data.draw(st.integers(0, len(changed) - 1))]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)
    integers = tensor.view(torch.int64 if tensor.element_size() == 8 else torch.int32)
    integers[index] ^= 1 << data.draw(st.integers(0, 8 * tensor.element_size() - 2))
    assert fingerprint(changed) != fingerprint(tensors())


def test_the_least_step_of_a_float_changes_it():
    changed = tensors()
    changed[1][3] = torch.nextafter(changed[1][3], torch.tensor(1.0))
    assert fingerprint(changed) != fingerprint(tensors())


def test_two_elements_that_change_places_change_it():
    changed = tensors()
    changed[0][0, 0, 0, :2] = changed[0][0, 0, 0, :2].flip(0).clone()
    assert fingerprint(changed) != fingerprint(tensors())


def test_it_does_not_depend_on_how_memory_is_laid_out():
    plain = [tensor.contiguous() for tensor in tensors()]
    assert fingerprint(plain) == fingerprint(tensors())
    assert fingerprint([]) == 0


class TwoRanks(LoneWorld):
    """Two ranks, of which the other has another fingerprint, or the same."""

    def __init__(self, other: int) -> None:
        super().__init__()
        self.size = 2
        self.other = other

    def agree_on(self, number: int) -> bool:
        return number == self.other

    def gather(self, value: int) -> list[int]:
        return [value, self.other]


def test_ranks_that_differ_are_named():
    check_alike(TwoRanks(fingerprint(tensors())), tensors(), 20)
    with pytest.raises(DriftError, match=r"at step 20 the parameters of rank 1 are not those"):
        check_alike(TwoRanks(1), tensors(), 20)


def test_one_rank_is_not_asked():
    check_alike(LoneWorld(), iter(()), 20)


@pytest.mark.parametrize("other", [-(2**63), -1, 0, 2**63 - 1])
def test_ranks_agree_on_one_integer_and_no_other(other):
    """Of all 64 bits: what ranks reduce is the greatest of each value."""

    class Reducing(LoneWorld):
        def _reduced(self, values, operation):
            return torch.tensor([max(values[0], ~other), max(values[1], other)])

    world = Reducing()
    world.size = 2
    assert world.agree_on(other)
    assert not world.agree_on(other ^ (1 << 62))
    assert not world.agree_on(other ^ 1)
