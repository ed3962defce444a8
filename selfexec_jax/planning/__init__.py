"""What a run would need and how long it would take on a TPU, worked out without one."""
