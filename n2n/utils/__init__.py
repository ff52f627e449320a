"""Used by every other package: strict values, random numbers, files, locks, progress, the CPU, statistics."""
