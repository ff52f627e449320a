"""Latent graphs: nodes and edges, presets, random families, networkx graphs, YAML files."""
