"""What the benchmark commands share: worlds, tasks, child processes, tables and plots."""
