"""What is to be learnt with labels: one file a task."""
