"""Meta-learners over Stable-Baselines3."""
