"""One RLModule per cell, and the MultiRLModule that keeps them all in one parameter bank."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn

from slicing_rllib.learning.parameter_bank import KINDS, TRAINED, NetworkSizes, ParameterBank

NETWORKS = (*TRAINED, *(f"target_{network}" for network in TRAINED))


class TD3Module(TorchRLModule, InferenceOnlyAPI):
    """A cell's actor, twin critics and their targets; for inference the actor alone."""

    def setup(self) -> None:
        sizes = sizes_of(self)
        generator = torch.Generator().manual_seed(int(self.model_config["init_seed"]))
        self.actor = mlp(sizes.actor, generator)
        if not self.inference_only:
            self.critic_1 = mlp(sizes.critic, generator)
            self.critic_2 = mlp(sizes.critic, generator)
            for network in TRAINED:
                target = mlp(sizes.of(network), generator)
                target.load_state_dict(getattr(self, network).state_dict())
                target.requires_grad_(False)
                setattr(self, f"target_{network}", target)

    def get_non_inference_attributes(self) -> list[str]:
        return [network for network in NETWORKS if network != "actor"]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Shares of the carrier for a batch of observations."""
        return {Columns.ACTIONS: torch.softmax(self.actor(batch[Columns.OBS]), dim=-1)}


class CellGroup(NamedTuple):
    """Cells with networks of the same widths, in the order of their bank's rows."""

    cells: tuple[str, ...]
    bank: ParameterBank


class BankedMultiRLModule(MultiRLModule):
    """RLlib's module of modules; `groups` hold them all, each in a bank of its own."""

    def setup(self) -> None:
        super().setup()
        self.rebank()

    def rebank(self) -> None:
        """Moves all modules into new banks: after modules were added or removed."""
        self.cells = sorted(self._rl_modules, key=natural_key)
        alike: dict[NetworkSizes, list[str]] = {}
        for cell in self.cells:
            alike.setdefault(sizes_of(self._rl_modules[cell]), []).append(cell)
        self.groups = tuple(self._banked(sizes, cells) for sizes, cells in alike.items())

    def _banked(self, sizes: NetworkSizes, cells: Sequence[str]) -> CellGroup:
        kinds = ("actor",) if self.inference_only else tuple(KINDS)
        first: Any = self._rl_modules[cells[0]]
        device = next(first.parameters()).device
        bank = ParameterBank(len(cells), sizes, kinds, device)
        for row, cell in enumerate(cells):
            bank.adopt(row, self._rl_modules[cell])
        return CellGroup(tuple(cells), bank)

    def add_module(self, module_id: str, module: RLModule, *, override: bool = False) -> None:
        super().add_module(module_id, module, override=override)
        self.rebank()

    def remove_module(self, module_id: str, *, raise_err_if_not_found: bool = True) -> None:
        super().remove_module(module_id, raise_err_if_not_found=raise_err_if_not_found)
        self.rebank()


def indices(cells: Sequence[str], among: Sequence[str]) -> Any:
    """Where cells stand in an order of all: a slice where they are all of it, else indexes."""
    if tuple(cells) == tuple(among):
        return slice(None)
    index = {cell: row for row, cell in enumerate(among)}
    return np.array([index[cell] for cell in cells])


def natural_key(cell: str) -> tuple[str, int]:
    """Sorts cell_2 before cell_10."""
    stem = cell.rstrip("0123456789")
    number = cell[len(stem) :]
    return stem, int(number) if number else -1


def sizes_of(module: RLModule) -> NetworkSizes:
    """Widths of a cell's networks, from its spaces and hidden layers."""
    spaces: list[Any] = [module.observation_space, module.action_space]
    obs, action = (space.shape[0] for space in spaces)
    hidden: Any = module.model_config
    return NetworkSizes(
        (obs, *hidden["actor_hiddens"], action), (obs + action, *hidden["critic_hiddens"], 1)
    )


def mlp(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between, uniform within one over the root of the fan-in."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        bound = fan_in**-0.5
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
