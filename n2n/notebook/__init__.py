"""Tools of the notebooks: their parameters and configurations, example runs, widgets, stored outputs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["datasets", "examples", "mixing_explorer"])
