"""What happens to the process as a whole: signals that arrive, and forks."""
