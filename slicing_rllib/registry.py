"""The parts that users exchange, by name: built-in ones, registered ones, and `module:name`.

`KINDS` says what a part of each kind has to be. An own part is named `module:name` in YAML, in
`--set` and in code, or gets a short name by `register`. Every process imports `module:name` itself;
what `register` has entered travels to Ray's workers inside the config, as `OwnParts`.

A config is its user's code and may import. A bundle, a library, an export and a run directory may
come from a stranger and never cause an import: they are read under `foreign_names`, where a part
must be registered, in use already, or in a module that `--allow-parts` names.
"""

import hashlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODULE_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def _in(module: str, **functions: str) -> dict[str, str]:
    """`module:name` of built-in parts by name."""
    return {name: f"slicing_rllib.{module}:{function}" for name, function in functions.items()}


MEASURES = (
    *("kl_paper", "lemma1", "mean_shift", "frechet", "jeffreys", "mmd"),
    *("energy", "sliced_w2", "sla", "raw", "sla_first"),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a part of one kind has to be."""

    meaning: str
    """What it is, as messages say it."""
    arguments: int | None = None
    """Positional arguments with which it is called; None for an object that is not called."""
    attributes: tuple[str, ...] = ()
    """Names of attributes that it needs."""
    built_in: Mapping[str, str] = field(default_factory=dict[str, str])
    """`module:name` of the parts that come with the package."""


KINDS: Mapping[str, Kind] = {
    "measure": Kind(
        meaning="a function f(cells) -> (source, target) distances of `transfer.Population`s",
        arguments=1,
        built_in=_in("transfer.distances", **{name: name for name in MEASURES}),
    ),
    "method": Kind(
        meaning="a function f(transfer: Transfer) -> WarmStart, as in `transfer.methods`",
        arguments=1,
        built_in=_in(
            "transfer.methods",
            none="start_from_scratch",
            model="copy_weights",
            feature="copy_lower_layers",
            instance="copy_experience",
            integrated="copy_weights_and_experience",
            generalist="train_generalist",
            multi_source="copy_experience_of_several",
        ),
    ),
    "message": Kind(
        meaning="a function f(network) -> g, g(load: (cell, slice)) -> (cell, number), or an "
        "`env.observation.LearnedMessage`",
        arguments=1,
        built_in=_in(
            "env.observation",
            none="no_message",
            mean_load="mean_load",
            per_neighbour="per_neighbour",
            all_cells="all_cells",
        ),
    ),
    "observation": Kind(
        meaning="a function f(reports, network, message) -> {quantity: (cell, number)}",
        arguments=3,
        built_in=_in(
            "env.observation",
            paper="observe_paper",
            widened="observe_widened",
            per_slice="observe_per_slice",
            response="observe_response_curves",
        ),
    ),
    "base_policy": Kind(
        meaning="a function f(reports, smoothing) -> (cell, slice) shares, from what was measured",
        arguments=2,
        built_in=_in(
            "env.base_policies",
            persistence="split_by_last",
            smoothed_persistence="split_smoothed",
            load_proportional="split_by_load",
        ),
    ),
    "baseline": Kind(
        meaning="a class or function f(scenario) -> policy with prb_ratio(view) -> (cell, slice); "
        "`policies.baselines` has the built-in ones",
        arguments=1,
    ),
    "mask": Kind(
        meaning="a class or function f(network, seed, **settings) -> mask with at_step(step) -> "
        "(cell, slice) and hour_at_step(step)",
        arguments=2,
    ),
    "network": Kind(
        meaning="a class or function f(scenario, seed, map_seed=...) -> network like "
        "`radio.Simulator`",
        arguments=2,
        built_in=_in("radio.simulator", system="Simulator")
        | _in("radio.tti_network", tti="TtiNetwork"),
    ),
    "propagation": Kind(
        meaning="an object like `radio.propagation.Environment`",
        attributes=("los_probability", "path_loss_db", "shadowing_sigma_db"),
        built_in=_in(
            "radio.propagation",
            winner_c2="WINNER_C2",
            winner_b1="WINNER_B1",
            tr38901_uma="TR38901_UMA",
            tr38901_umi="TR38901_UMI",
            tr36873_uma="TR36873_UMA",
            tr36873_umi="TR36873_UMI",
        ),
    ),
    "placement": Kind(
        meaning="an object like `radio.interference.CONTIGUOUS`",
        attributes=("dense", "sparse"),
        built_in=_in("radio.interference", contiguous="CONTIGUOUS", random="RANDOM"),
    ),
    "queue": Kind(
        meaning="a function f(share, required) -> served share, like `radio.kpis.served_share`",
        arguments=2,
        built_in=_in("radio.kpis", processor_sharing="served_share", fifo="served_share_fifo"),
    ),
    "reward": Kind(
        meaning="a function f(kpis, network) -> (cell,) rewards",
        arguments=2,
        built_in=_in("env.rewards", paper="paper_reward"),
    ),
    "actor": Kind(
        meaning="a class or function f(obs_size, n_actions) -> torch module without buffers, from "
        "(batch, obs) to (batch, action) logits",
        arguments=2,
        built_in=_in("learning.rl_module", mlp="MlpActor", equivariant="EquivariantActor"),
    ),
    "critic": Kind(
        meaning="a class or function f(obs_size, n_actions) -> torch module without buffers, from "
        "(batch, obs) and (batch, action) to (batch,) values",
        arguments=2,
        built_in=_in("learning.rl_module", joint="JointCritic"),
    ),
}
"""What can be exchanged."""

_parts: dict[tuple[str, str], Any] = {}
"""By kind and name, the parts that were registered or used in this process."""
_registered: dict[tuple[str, str], Any] = {}
"""Those that `register` has entered."""
ALLOWED = "SLICING_RLLIB_ALLOWED_PARTS"
"""Environment variable with the modules that files of others may import. Ray's workers and other
processes inherit it from the one that started them."""
_is_foreign: ContextVar[bool] = ContextVar("is_foreign", default=False)
"""Whether names come from a file that may be a stranger's."""


def register(kind: str, name: str, thing: Any) -> None:
    """Give a part a name, under which configs and the command line find it in this process.

    `kind` is one of `KINDS`, which says what `thing` has to be.
    Raises: ValueError for an unknown kind, a built-in or unusable name, or a thing of another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if name in KINDS[kind].built_in or not NAME.fullmatch(name):
        raise ValueError(
            f"{kind} {name!r}: expected up to 64 letters, digits, dots, dashes and underscores, "
            "and none of the built-in names"
        )
    _parts[kind, name] = _registered[kind, name] = _require_kind(kind, name, thing)


def get_part(kind: str, name: str) -> Any:
    """The part with that name.

    Raises: ValueError for an unknown name, one that may not or cannot be imported, or a thing that
    is not of that kind.
    """
    if (kind, name) not in _parts:
        if problem := _find_unknown(kind, name):
            raise ValueError(f"{kind}: {problem}")
        target = KINDS[kind].built_in.get(name, name)
        if target == name:
            _require_importable(kind, name)
        try:
            thing = resolve_name(target)
        except Exception as error:  # The module is its user's: anything may happen.
            why = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"{kind} {name!r}: cannot be imported: {why}") from error
        _parts[kind, name] = _require_kind(kind, name, thing)
    return _parts[kind, name]


def _find_unknown(kind: str, name: str, also: tuple[str, ...] = ()) -> str:
    """What is wrong with a name that is neither known nor `module:name`; empty for others."""
    known = (*list_names(kind), *also)
    if name in known or MODULE_NAME.fullmatch(name):
        return ""
    return f"expected one of {', '.join((*known, 'MODULE:NAME'))}, got {name!r}"


def digest_part(kind: str, name: str) -> str:
    """SHA-256 of the source of a part; empty where Python cannot tell it."""
    thing = get_part(kind, name)
    try:
        source = inspect.getsource(thing if hasattr(thing, "__name__") else type(thing))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def is_own(kind: str, name: str) -> bool:
    """Whether a part does not come with the package."""
    return name not in KINDS[kind].built_in


def list_names(kind: str) -> tuple[str, ...]:
    """Names of the built-in parts of a kind, then of the registered ones."""
    own = (name for of, name in _registered if of == kind)
    return *KINDS[kind].built_in, *own


def allow_parts(modules: Iterable[str]) -> None:
    """Let names in files of others import these modules, here and in processes started later."""
    os.environ[ALLOWED] = ",".join(sorted({*_list_allowed(), *modules}))


def _list_allowed() -> list[str]:
    return [module for module in os.environ.get(ALLOWED, "").split(",") if module]


@contextmanager
def foreign_names() -> Iterator[None]:
    """Within the block names are those of a file that may be a stranger's: they import nothing.

    Parts that are registered, in use already or in an allowed module are found all the same.
    """
    token = _is_foreign.set(True)
    try:
        yield
    finally:
        _is_foreign.reset(token)


def _require_importable(kind: str, name: str) -> None:
    module = name.partition(":")[0]
    if _is_foreign.get() and module not in _list_allowed():
        raise ValueError(
            f"{kind} {name!r}: expected a part that is registered: files of others import nothing; "
            f"--allow-parts {module} permits it"
        )


def _require_kind(kind: str, name: str, thing: Any) -> Any:
    expected = KINDS[kind]
    missing = [each for each in expected.attributes if not hasattr(thing, each)]
    fits = not missing
    if expected.arguments is not None:
        try:
            inspect.signature(thing).bind(*[None] * expected.arguments)
        except (TypeError, ValueError):
            fits = False
    if not fits:
        raise ValueError(f"{kind} {name!r}: expected {expected.meaning}, got {thing!r}")
    return thing


class OwnParts:
    """The registered parts; they are entered as well in the process that unpickles this."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _enter, (dict(_registered),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnParts)

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _enter(parts: Mapping[tuple[str, str], Any]) -> OwnParts:
    _registered.update(parts)
    _parts.update(parts)
    return OwnParts()


@dataclass(frozen=True)
class PartOf:
    """Marks a setting that names a part: `Annotated[str, PartOf("measure")]`."""

    kind: str
    also: tuple[str, ...] = ()
    """Values that the setting takes besides."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = [*list_names(self.kind), *self.also]
        return {"anyOf": [{"enum": names}, {"type": "string", "pattern": MODULE_NAME.pattern}]}

    def _check(self, name: str) -> str:
        if problem := _find_unknown(self.kind, name, self.also):
            raise ValueError(problem)
        if ":" in name:
            get_part(self.kind, name)
        return name
