"""Training: `fit`, its states, steps and epochs, and schedules."""
