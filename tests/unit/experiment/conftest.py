"""One small run on this CPU, made again and again in a test's own store."""

import pytest

from bench.config.load import arm_config, load
from bench.experiment.assemble import Assembler
from bench.experiment.context import RunContext
from bench.experiment.execute import execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import RunSpec
from bench.ledger.records import PrecisionFacts
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore
from bench.models.weights import random_weights
from bench.trackers import Guarded
from tests.commands import ROOT, TINY
from tests.unit.experiment.small_run import CODE, RUN, SMALL
from tests.unit.training.factory import opened_world


@pytest.fixture(scope="module")
def world():
    with opened_world() as world:
        yield world


@pytest.fixture(scope="module")
def assembler(world) -> Assembler:
    return Assembler(world, Inputs())


@pytest.fixture
def run(world, assembler, tmp_path):
    """Make a run of a small study in this test's store."""

    def make(
        *overrides: str, process_runs: int = 2, code_sha256: str = CODE, precision: str = "fp32"
    ) -> RunResult:
        config = arm_config(load(ROOT / TINY, [*SMALL, *overrides]), "slow")
        spec = RunSpec(run_id=RUN, arm="slow", seed=3, block=3, config=config)
        context = RunContext(
            world=world,
            store=RunStore(tmp_path),
            trackers=Guarded({}),
            precision=PrecisionFacts(name=precision, reason="asked for"),
            self_check="green",
            code_sha256=code_sha256,
            plan_sha256="p" * 64,
            process_runs=process_runs,
            once_s={"startup": 1.5, "data_setup": 0.5},
        )
        assembly = assembler.assemble(config, random_weights())
        result = execute(spec, assembly, assembler.compile(config), context)
        assert result is not None
        return result

    return make
