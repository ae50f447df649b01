"""Pure maths of meta-reinforcement learning: tensors in, tensors out; no environment, no generator, no logging."""
