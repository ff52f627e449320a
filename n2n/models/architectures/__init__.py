"""One file for each architecture; a module here with a ``Config`` and a ``Mixer`` is registered automatically."""
