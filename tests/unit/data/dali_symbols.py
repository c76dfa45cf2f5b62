"""Which operators a DALI graph runs, on which device and dtypes, and which of them DALI implements.

DALI's schemas know an operator's devices, not its dtypes on each: what is not implemented is an
error at the first batch. But the libraries have a symbol for each dtype of a C++ template.
"""

import mmap
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from nvidia.dali import Pipeline, types

LIBRARIES = ("libdali_operators.so", "libdali_kernels.so")


class Template(NamedTuple):
    """A C++ template that an operator runs, and its arguments as they are mangled."""

    name: str
    arguments: str

    @property
    def mangled(self) -> str:
        return f"{len(self.name)}{self.name}I"


TEMPLATES = {
    # The kernel for uint8 of three channels, HWC to HWC.
    ("CropMirrorNormalize", "gpu"): Template("SliceHwc2HwcNormalize", "{output}{input}Lb"),
    ("CropMirrorNormalize", "cpu"): Template(
        name="SliceFlipNormalizePermuteKernelImpl",
        arguments="Lb[01]ELb[01]E{output}{input}Li3E",
    ),
    ("Erase", "gpu"): Template("EraseImplGpu", "{input}Li3E"),
    ("Erase", "cpu"): Template("EraseImplCpu", "{input}Li3E"),
    ("Cast", "gpu"): Template("BinSearchCastKernel", "{output}{input}E"),
}
# As the Itanium C++ ABI has them; a namespace may be written out or stand for an earlier one.
MANGLED_DTYPES = {
    types.UINT8: "h",
    types.INT32: "i",
    types.INT64: "l",
    types.FLOAT: "f",
    types.FLOAT16: r"N(?:S\d*_|4dali)7float16E",
}


class Use(NamedTuple):
    """An operator of a graph, its device, and the dtypes that it takes, if any, and gives."""

    operator: str  # "Copy": from the CPU, for which DALI's executor has no operator in the graph
    device: str
    input_dtype: types.DALIDataType | None
    output_dtype: types.DALIDataType

    def __str__(self) -> str:
        input_name = "nothing" if self.input_dtype is None else self.input_dtype.name
        return f"{self.operator} on {self.device}: {input_name} to {self.output_dtype.name}"


def operators(pipeline: Pipeline) -> list:
    """All operators of a pipeline's graph, each after those it takes from."""
    by_name = {}

    def visit(node) -> None:
        for input_node in node.source.inputs:
            visit(input_node)
        by_name.setdefault(node.source.name, node.source)

    for node in pipeline._graph_out:
        visit(node)
    return list(by_name.values())


def output_dtypes(cpu_pipeline: Pipeline) -> list[types.DALIDataType]:
    """The dtype that each operator gives, by running a batch of a pipeline on the CPU."""
    nodes = [operator.outputs[0] for operator in operators(cpu_pipeline)]
    cpu_pipeline.set_outputs(*nodes)
    return [output.dtype for output in cpu_pipeline.run()]


def uses(pipeline: Pipeline, cpu_twin: Pipeline) -> Iterator[Use]:
    """The uses of a pipeline. Its twin has the same operators, and a CPU can run it."""
    graph = operators(pipeline)
    names = [operator.name for operator in graph]
    dtypes = dict(zip(names, output_dtypes(cpu_twin), strict=True))
    nodes = list(pipeline._graph_out)
    for operator in graph:
        regular_inputs = operator.inputs[: operator.spec.NumRegularInput()]
        nodes += regular_inputs
        input_dtype = dtypes[regular_inputs[0].source.name] if regular_inputs else None
        name = operator._op.schema.OperatorName()
        yield Use(name, operator._op.device, input_dtype, dtypes[operator.name])
    for node in nodes:
        if node.device != node.source._op.device:
            dtype = dtypes[node.source.name]
            yield Use("Copy", node.device, dtype, dtype)


class Symbols:
    """The symbols of the templates in DALI's libraries: one for each dtype that is implemented."""

    def __init__(self) -> None:
        folder = Path(find_spec("nvidia.dali").origin).parent
        names = [template.mangled for template in TEMPLATES.values()]
        self._symbols: set[str] = set()
        for library in LIBRARIES:
            self._symbols |= set(strings_from(folder / library, names))

    def implement(self, use: Use) -> bool:
        """Whether one of them is for the dtypes of a use."""
        template = TEMPLATES[use.operator, use.device]
        input_dtype = MANGLED_DTYPES[use.input_dtype]
        output_dtype = MANGLED_DTYPES[use.output_dtype]
        arguments = template.arguments.format(input=input_dtype, output=output_dtype)
        pattern = re.compile(template.mangled + arguments)
        return any(pattern.match(symbol) for symbol in self._symbols)


def strings_from(file: Path, beginnings: Iterable[str]) -> Iterator[str]:
    """All that stands in a file from one of the beginnings to the next zero byte."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for beginning in beginnings:
            start = data.find(beginning.encode())
            while start >= 0:
                end = data.find(b"\0", start)
                yield data[start:end].decode("ascii", "replace")
                start = data.find(beginning.encode(), end)
