"""WeDefense: detecting fake speech with self-supervised models.

>>> import wedefense
>>> model = wedefense.load_detector("exp/mhfa")                  # doctest: +SKIP
>>> model.score("recording.wav").meaning                         # doctest: +SKIP
>>> frontend = wedefense.load_frontend("wavlm_base_plus")        # doctest: +SKIP
"""

__version__ = "0.1.0"

_LAZY = {"load_detector": "wedefense.api", "from_pretrained": "wedefense.api", "LoadedDetector": "wedefense.api",
         "demo": "wedefense.api", "load_frontend": "wedefense.frontend"}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str):
    """Import on first use, so that `import wedefense` stays quick and needs no torch."""
    if name not in _LAZY:
        raise AttributeError(f"module 'wedefense' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """With what is only imported on first use."""
    return sorted({*globals(), *__all__})
