"""Small experiments for tests, and the network that they train: `imports: [tests.experiments]`."""

from bench import registry

registry.register("network", "two_convolutions", "tests.experiments.networks:two_convolutions")
