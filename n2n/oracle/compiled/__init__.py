"""The oracle on CPUs, compiled by numba; its twins in torch lie beside it and run on other devices."""
