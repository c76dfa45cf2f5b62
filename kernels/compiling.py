"""Compiling functions that torch.compile must not count together."""

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from torch import nn


def with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of a Python function that has a code object of its own.

    Dynamo counts recompilations by code object and refuses the ninth. Functions that are made from
    one `def`, as closures are, share theirs, and so do the calls of all modules.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"only a Python function has a code object, not {function!r}")
    copy = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    return copy


def give_own_code(module: nn.Module) -> None:
    """Let a module's calls run through a function of its own, for a `module.compile` to compile.

    That function does not lie in torch: torch 2.11 compiles no frame of torch's own modules.
    """
    module._call_impl = MethodType(with_own_code(_call), module)  # type: ignore[method-assign]


def _call(module: nn.Module, *inputs: Any, **named_inputs: Any) -> Any:
    return nn.Module._call_impl(module, *inputs, **named_inputs)
