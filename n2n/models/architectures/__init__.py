"""One file for each architecture, with its ``Config`` and its ``Mixer``; no file imports another. Files here are
registered automatically.
"""
