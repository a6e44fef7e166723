"""Load on a machine of the lab: `run_load` for players that check every byte, `run_volume` for sheer volume."""
