"Audio classification, taught by telling sirens from all other road sound."
__version__ = "0.1.0"

import importlib
import pkgutil


def __getattr__(name):
    "Submodules load on first use: sirenbook.chunks imports sirenbook/chunks.py then."
    if name in __dir__(): return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))})
