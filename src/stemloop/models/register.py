"""Make our model directories known to transformers, without importing transformers.

``import stemloop`` calls `install`. If ``transformers.AutoConfig`` is loaded already, our
configurations are registered at once. Otherwise a finder waits on `sys.meta_path` for the one
module that defines it, registers when that module has been executed, and leaves. The model classes
follow when a configuration is first made (see `stemloop.models.hub_config`). Pipelines are
registered in the same way, when ``transformers.pipelines`` is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_AUTO, _PIPELINES = "transformers.models.auto.configuration_auto", "transformers.pipelines"


def register() -> None:
    """Register the configurations (imports a part of transformers)."""
    from transformers.models.auto.configuration_auto import AutoConfig

    from stemloop.models.hub_config import FoldCRFConfig, RiNALMoConfig

    for config in (RiNALMoConfig, FoldCRFConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)


class _Waiting:
    """Finds one module as Python would, and acts after it has been executed.

    Not derived from `importlib.abc.MetaPathFinder`, whose import would cost 10 ms of every start.
    """

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self.name, self.act = name, act

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            self.act()
            sys.meta_path.remove(self)

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


def install(pipelines: str) -> None:
    """Register now what transformers has loaded, and the rest as soon as it is.

    Parameters
    ----------
    pipelines : str
        Module whose function ``register`` registers the pipelines: it stands above this one.
    """

    def register_pipelines() -> None:
        import_module(pipelines).register()

    for name, last, act in (
        (_AUTO, "AutoConfig", register),
        (_PIPELINES, "pipeline", register_pipelines),
    ):
        waiting = (f for f in sys.meta_path if isinstance(f, _Waiting))
        if hasattr(sys.modules.get(name), last):
            act()
        elif all(finder.name != name for finder in waiting):
            sys.meta_path.insert(0, _Waiting(name, act))
