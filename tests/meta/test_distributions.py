"""The written-out distributions against torch's own."""

import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from metamotor.meta.functional import distributions


def test_gaussian_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, other, actions = torch.randn(3, 5, 4, 2, generator=generator).unbind(0)
    log_std, other_log_std = torch.randn(2, 2, generator=generator).unbind(0)
    p = Independent(Normal(mean, log_std.exp()), 1)
    q = Independent(Normal(other, other_log_std.exp()), 1)
    close = torch.testing.assert_close
    close(distributions.gaussian_log_prob(mean, log_std, actions), p.log_prob(actions))
    close(distributions.gaussian_entropy(mean, log_std), p.entropy())
    close(distributions.gaussian_kl(mean, log_std, other, other_log_std), kl_divergence(p, q))


def test_categorical_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, other = torch.randn(2, 5, 4, 3, generator=generator).unbind(0)
    actions = torch.randint(3, (5, 4), generator=generator)
    p, q = Categorical(logits=logits), Categorical(logits=other)
    close = torch.testing.assert_close
    close(distributions.categorical_log_prob(logits, actions), p.log_prob(actions))
    close(distributions.categorical_entropy(logits), p.entropy())
    close(distributions.categorical_kl(logits, other), kl_divergence(p, q))
