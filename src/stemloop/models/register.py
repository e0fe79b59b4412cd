"""Make our model directories known to transformers' Auto classes, without importing transformers.

``import stemloop`` calls `install`. If ``transformers.AutoConfig`` is loaded already, our
configuration is registered at once. Otherwise a finder waits on `sys.meta_path` for the one module
that defines it, registers when that module has been executed, and leaves. The model classes follow
when a configuration is first made (see `stemloop.models.hub_config`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_AUTO = "transformers.models.auto.configuration_auto"


def register() -> None:
    """Register the configuration (imports a part of transformers)."""
    from transformers.models.auto.configuration_auto import AutoConfig

    from stemloop.models.hub_config import RiNALMoConfig

    AutoConfig.register(RiNALMoConfig.model_type, RiNALMoConfig, exist_ok=True)


class _Waiting:
    """Finds one module as Python would, and registers after it has been executed.

    Not derived from `importlib.abc.MetaPathFinder`, whose import would cost 10 ms of every start.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != _AUTO:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register()
            sys.meta_path.remove(self)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register now if transformers' Auto classes are loaded, else as soon as they are."""
    if hasattr(sys.modules.get(_AUTO), "AutoConfig"):
        register()
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())
