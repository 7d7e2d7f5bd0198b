"""One RLModule per cell, the MultiRLModule that keeps their parameters in banks, their spaces."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.spaces.simplex import Simplex
from torch import nn

from slicing_rllib.env import ActorForm, Squash
from slicing_rllib.learning.stacked_networks import (
    KINDS,
    AnyLayers,
    ModuleLayers,
    ModuleSpec,
    NetworkSizes,
    ParameterBank,
    compute_logits,
    decide,
    pool_features,
)
from slicing_rllib.policies.td3_settings import SquashSetting

NETWORKS = tuple(itertools.chain(*KINDS.values()))


def list_networks(sizes: NetworkSizes, is_deciding: bool = False) -> tuple[str, ...]:
    """Names of a cell's networks: all of them, or those that actions are computed from."""
    kinds = (sizes.deciding_kind,) if is_deciding else sizes.kinds
    return tuple(name for kind in kinds for name in KINDS[kind])


class TD3Module(TorchRLModule, InferenceOnlyAPI):
    """A cell's actor, twin critics and the targets of all three; for inference the actor alone.

    With critics per slice there are no targets, and with `max_min` no actor: the critics decide.
    """

    def setup(self) -> None:
        """Random weights from `model_config["init_seed"]`; targets equal to their networks."""
        sizes = compute_sizes(self)
        generator = torch.Generator().manual_seed(int(self.model_config["init_seed"]))
        self._sizes, self._form = sizes, sizes.form
        initial: dict[str, Any] = self.model_config["initial_weights"]
        for network in list_networks(sizes, self.inference_only):
            mlp = _build_network(sizes.find_widths(network), generator)
            if network.startswith("target_"):
                online = self.get_submodule(network.removeprefix("target_"))
                mlp.load_state_dict(online.state_dict())
                mlp.requires_grad_(False)
            setattr(self, network, mlp)
            is_correction = (
                self._form.base_policy != "none"
                if network == "actor"
                else self.model_config["critic"] == "per_slice"
            )
            layers = getattr(mlp, "network", mlp)
            if is_correction and isinstance(layers, nn.Sequential):
                # Zero output: a new actor answers with the base policy's split, and a new critic
                # with levels in proportion to the share.
                for parameter in layers[-1].parameters():
                    nn.init.zeros_(parameter)
            for name in [name for name in initial if name.startswith(f"{network}.")]:
                parameter, weights = self.get_parameter(name), initial[name]
                if parameter.shape != weights.shape:
                    raise ValueError(
                        f"initial_weights: expected {name} of shape {tuple(parameter.shape)}, got "
                        f"{tuple(weights.shape)}"
                    )
                parameter.data = torch.from_numpy(np.array(weights))

    def set_state(self, state: dict[str, Any]) -> None:
        """Raises: ValueError with the setting in which the state's networks differ from these."""
        try:
            super().set_state(state)
        except RuntimeError as error:
            raise ValueError(self._explain_shapes(state) or str(error)) from error

    def _explain_shapes(self, state: Mapping[str, Any]) -> str:
        for name, own in self.named_parameters():
            here, there = tuple(own.shape), tuple(np.shape(state.get(name, own)))
            if here != there:
                is_input = name.endswith(".0.weight") and here[1:] != there[1:]
                network = "actor" if "actor" in name else "critic"
                what = (
                    "observations or actions of the environment"
                    if is_input
                    else f"{network}_hiddens"
                )
                return f"checkpoint: {name} has shape {there}, expected {here}; other {what}"
        return ""

    def get_non_inference_attributes(self) -> list[str]:
        deciding = list_networks(self._sizes, is_deciding=True)
        return [name for name in list_networks(self._sizes) if name not in deciding]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Actions, shares or within their bounds, for a batch of flattened observations."""
        obs = batch[Columns.OBS]
        logits, _ = compute_logits(self._form, self._stack_deciding(), obs.flatten(0, -2)[None])
        action = decide(self._form.squash, logits[0], None).view(*obs.shape[:-1], -1)
        if self._form.squash == "tanh":
            space: Any = self.action_space
            low, high = (torch.from_numpy(bound).to(action) for bound in (space.low, space.high))
            action = low + 0.5 * (action.unflatten(-1, low.shape) + 1.0) * (high - low)
        return {Columns.ACTIONS: action}

    def _stack_deciding(self) -> AnyLayers:
        """The layers that actions are computed from, as a bank with this cell alone has them."""
        names = list_networks(self._sizes, is_deciding=True)
        if self._sizes.deciding_kind == "actor" and isinstance(self._sizes.actor, ModuleSpec):
            actor = self.get_submodule("actor")
            own = {name: parameter[None] for name, parameter in actor.named_parameters()}
            return ModuleLayers(self._sizes.actor, own, actor)
        deciding = [
            [layer for layer in self.get_submodule(name).children() if isinstance(layer, nn.Linear)]
            for name in names
        ]
        return [
            (torch.stack([one.weight for one in twins]), torch.stack([one.bias for one in twins]))
            for twins in zip(*deciding, strict=True)
        ]


class CellGroup(NamedTuple):
    """Cells whose networks have the same widths, in the order of their bank's rows."""

    cells: tuple[str, ...]
    bank: ParameterBank


class BankedMultiRLModule(MultiRLModule):
    """RLlib's module of modules. Each of its `groups` keeps its cells' parameters in one bank."""

    def setup(self) -> None:
        super().setup()
        self.rebuild_banks()

    def rebuild_banks(self) -> None:
        """Move all modules into new banks, as after modules were added or removed."""
        self.cells = sorted(self._rl_modules, key=natural_key)
        by_sizes: dict[NetworkSizes, list[str]] = {}
        for cell in self.cells:
            by_sizes.setdefault(compute_sizes(self._rl_modules[cell]), []).append(cell)
        groups: list[CellGroup] = []
        for sizes, cells in by_sizes.items():
            first: Any = self._rl_modules[cells[0]]
            kinds = (sizes.deciding_kind,) if self.inference_only else sizes.kinds
            bank = ParameterBank(len(cells), sizes, kinds, next(first.parameters()).device)
            for row, cell in enumerate(cells):
                bank.adopt(row, self._rl_modules[cell])
            groups.append(CellGroup(tuple(cells), bank))
        self.groups = tuple(groups)

    def add_module(self, module_id: str, module: RLModule, *, override: bool = False) -> None:
        super().add_module(module_id, module, override=override)
        self.rebuild_banks()

    def remove_module(self, module_id: str, *, raise_err_if_not_found: bool = True) -> None:
        super().remove_module(module_id, raise_err_if_not_found=raise_err_if_not_found)
        self.rebuild_banks()


def natural_key(cell: str) -> tuple[str, int]:
    """A key that sorts cell_2 before cell_10."""
    stem = cell.rstrip("0123456789")
    number = cell[len(stem) :]
    return stem, int(number) if number else -1


def compute_sizes(module: RLModule) -> NetworkSizes:
    """Widths of a cell's networks, from its spaces and the hidden layers in its `model_config`."""
    spaces: list[Any] = [module.observation_space, module.action_space]
    obs, action = (int(np.prod(space.shape)) for space in spaces)
    config: Any = module.model_config
    heard = getattr(spaces[0], "heard", None)
    form = ActorForm(action, config["actor"], config["base_policy"], config["squash"], heard)

    def specify(kind: str) -> ModuleSpec:
        hiddens = tuple(config[f"{kind}_hiddens"])
        return ModuleSpec(kind, config[kind], obs, action, hiddens, heard)

    if form.is_own or heard is not None:
        actor = specify("actor")
    else:
        actor = form.compute_widths(obs, tuple(config["actor_hiddens"]))
    if config["critic"] == "per_slice":
        kinds = ("critics",) if form.kind == "max_min" else ("actor", "critics")
        return NetworkSizes(actor, (obs // action + 1, *config["critic_hiddens"], 1), form, kinds)
    if config["critic"] == "joint" and heard is None:
        return NetworkSizes(actor, (obs + action, *config["critic_hiddens"], 1), form)
    return NetworkSizes(actor, specify("critic"), form)


def _build_network(network: tuple[int, ...] | ModuleSpec, generator: torch.Generator) -> nn.Module:
    if not isinstance(network, ModuleSpec):
        return build_mlp(network, generator)
    # torch's own initialisation draws from its global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return network.build()


def build_mlp(widths: Sequence[int], generator: torch.Generator | None = None) -> nn.Sequential:
    """Linear layers with ReLU between them; weights uniform within 1 / sqrt(fan-in)."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        bound = fan_in**-0.5
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MlpActor(nn.Sequential):
    """`mlp`: one network reads the whole observation.

    This and the next classes show what a part of their kind is. The stacked passes compute the
    same; the classes run where a learned message comes first, and in exported graphs.
    """

    def __init__(self, obs_size: int, n_actions: int, hiddens: tuple[int, ...] = (48, 24)) -> None:
        super().__init__(*build_mlp((obs_size, *hiddens, n_actions)))


class EquivariantActor(nn.Sequential):
    """`equivariant`: one network is applied to every slice."""

    def __init__(self, obs_size: int, n_actions: int, hiddens: tuple[int, ...] = (48, 24)) -> None:
        form = ActorForm(n_actions, "equivariant")
        super().__init__(*build_mlp(form.compute_widths(obs_size, hiddens)))
        self.n_slices = n_actions

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return super().forward(pool_features(obs, self.n_slices))[..., 0]


class JointCritic(nn.Sequential):
    """`joint`: one network reads observation and action."""

    def __init__(self, obs_size: int, n_actions: int, hiddens: tuple[int, ...] = (64, 24)) -> None:
        super().__init__(*build_mlp((obs_size + n_actions, *hiddens, 1)))

    def forward(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.cat([obs, action], dim=-1))[..., 0]


ACTIONS_EXPECTED = "expected a Box with finite bounds, or a Simplex"


class SpaceError(ValueError):
    """An environment's space, observation or action that TD3 cannot use."""


class AgentSpaces:
    """Converts one agent's observations to vectors, and vectors to its actions.

    An observation of any space is flattened as `gymnasium.spaces.flatten` does it. Actions of a
    simplex are shares; those of other bounded spaces are numbers from -1 to 1, which are scaled to
    the bounds.
    """

    def __init__(self, agent: str, obs: Any, action: Any, squash: SquashSetting = "auto") -> None:
        """`squash` says how a Box from 0 to 1 is meant; `auto` takes it for a simplex.

        Raises: SpaceError that names agent, space and what was expected.
        """
        refusal = SpaceError(
            f"agent {agent}: observation space {obs}, expected a space of fixed size, such as a Box"
        )
        if not isinstance(obs, spaces.Space):
            raise refusal
        try:
            self.obs_size = spaces.flatdim(obs)
        except (ValueError, NotImplementedError) as error:
            raise refusal from error
        self.agent, self.obs, self.action = agent, obs, action
        self.squash: Squash = choose_squash(agent, action, squash)
        self.action_size = int(np.prod(action.shape))
        self._obs_shape = obs.shape if isinstance(obs, spaces.Box) else None

    @property
    def module_obs(self) -> spaces.Box:
        """The space of flattened observations."""
        if isinstance(self.obs, spaces.Box) and len(self.obs.shape) == 1:
            return self.obs
        return spaces.Box(-np.inf, np.inf, (self.obs_size,), np.float32)

    def flatten_obs(self, obs: Any) -> np.ndarray:
        """An observation as float32 numbers. Raises: SpaceError where it is not of the space."""
        if self._obs_shape is not None:
            array = np.asarray(obs, np.float32)
            if array.shape == self._obs_shape:
                return array.reshape(-1)
            got = f"shape {array.shape}"
        elif self.obs.contains(obs):
            return np.asarray(spaces.flatten(self.obs, obs), np.float32)
        else:
            got = repr(obs)
        raise SpaceError(f"observation of agent {self.agent}: expected {self.obs}, got {got}")

    def restore_obs(self, vector: np.ndarray) -> Any:
        """The observation that was flattened to this vector."""
        return spaces.unflatten(self.obs, vector)

    def scale_action(self, vector: np.ndarray) -> np.ndarray:
        """The action that the environment is given for a vector that a policy chose."""
        if self.squash == "softmax":
            return vector.reshape(self.action.shape).astype(self.action.dtype)
        low, high = self.action.low, self.action.high
        scaled = low + 0.5 * (vector.reshape(low.shape) + 1.0) * (high - low)
        # Rounding must not lead out of the bounds, which many environments check.
        return np.clip(scaled, low, high).astype(self.action.dtype)


def choose_squash(agent: str, space: Any, setting: SquashSetting) -> Squash:
    """How actions of this space are computed from logits.

    Raises: SpaceError for a space that TD3 cannot use.
    """
    if isinstance(space, Simplex) and space.shape == (space.dim,) and setting != "tanh":
        return "softmax"
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise SpaceError(f"agent {agent}: action space {space}, {ACTIONS_EXPECTED}")
    is_unit = bool((space.low == 0).all() and (space.high == 1).all()) and len(space.shape) == 1
    if setting == "softmax" and not is_unit:
        raise SpaceError(
            f"agent {agent}: action space {space}, expected a Box from 0 to 1 for squash softmax"
        )
    # The softmax of a single number is always 1: one number in [0, 1] is no division.
    if is_unit and setting != "tanh" and space.shape[0] > 1:
        return "softmax"
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise SpaceError(f"agent {agent}: action space {space}, {ACTIONS_EXPECTED}")
    return "tanh"
