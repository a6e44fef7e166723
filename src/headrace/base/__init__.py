"""What every package may use: ids, units, clock, chance, errors, tasks, configuration. Knows nothing about video."""
