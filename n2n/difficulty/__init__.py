"""How hard a process is: entropies, calibration, mutual information, n-grams, compression, ideal learners."""
