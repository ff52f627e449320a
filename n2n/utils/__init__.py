"""What every other package stands on: strict values, random numbers, files, locks, progress, the CPU, statistics."""
