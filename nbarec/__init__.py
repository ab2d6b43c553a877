"""nbarec: next-best-action recommendations from one YAML file.

>>> import nbarec
>>> pipeline = nbarec.Pipeline.from_yaml("configs/music.yaml")  # doctest: +SKIP
>>> model = pipeline.fit()  # doctest: +SKIP
>>> model.recommend(users=["U0001"], k=5, context={"hour": 21}).items  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbarec.data import Dataset as Dataset
    from nbarec.errors import NbarecError as NbarecError
    from nbarec.model import Model as Model
    from nbarec.pipeline import Pipeline as Pipeline
    from nbarec.saved import load_model as load

__version__ = "0.1.0"
__all__ = ["Dataset", "Model", "NbarecError", "Pipeline", "__version__", "load"]

_PUBLIC = {
    "Dataset": ("nbarec.data", "Dataset"),
    "Model": ("nbarec.model", "Model"),
    "NbarecError": ("nbarec.errors", "NbarecError"),
    "Pipeline": ("nbarec.pipeline", "Pipeline"),
    "load": ("nbarec.saved", "load_model"),
}


def __getattr__(name: str) -> Any:
    # Public names are imported when they are first used, so that `nbarec --help` need not load NumPy.
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nbarec' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
