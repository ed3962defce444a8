"""An engine a host: each answers a share of the requests, and every host gets all the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from selfexec_jax.hosts import Hosts
from selfexec_jax.rollout import Engine, Request, Sample


class SharedEngine:
    """What evaluation asks of an engine. All hosts must ask the same."""

    def __init__(self, engine: Engine, hosts: Hosts):
        self._engine, self._hosts = engine, hosts
        self.n_tokens = 0  # generated so far, by all hosts

    def load(self, params: dict, version: int) -> SharedEngine:
        self._engine.load(params, version)
        return self

    def generate(self, requests: Sequence[Request]) -> list[list[Sample]]:
        """All samples of all requests, in order."""
        found = self._engine.generate(requests) if self._hosts.count == 1 else self._divided(requests)
        self.n_tokens += sum(len(sample.tokens) for samples in found for sample in samples)
        return found

    def _divided(self, requests: Sequence[Request]) -> list[list[Sample]]:
        def answers(share: Sequence[Request]) -> list[list[dict]]:
            return [[dataclasses.asdict(s) for s in samples] for samples in self._engine.generate(share)]

        return [[_sample(row) for row in rows] for rows in self._hosts.divide("answers", requests, answers)]


def _sample(row: dict) -> Sample:
    return Sample(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
