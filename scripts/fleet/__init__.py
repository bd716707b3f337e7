"""`./scripts/simulate_fleet`: thousands of stations from one process against a real broker, real workers and a real database."""
