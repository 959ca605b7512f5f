"""The parts of scripts/gpu_check: runner, report, and one file for each group of stages."""
