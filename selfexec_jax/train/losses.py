"""What is learned from: the loss of imitation, and the pieces that policy gradients are put together from.

The policy loss is - sum over tokens of scale * weight * gain, where the scale comes from a normaliser, the weight from
importance sampling, and the gain from an objective and the advantage. Every piece is a pure function of arrays, and a
config names one of each kind.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def sft_loss(logprobs_BxL: jax.Array, scale_BxL: jax.Array) -> jax.Array:
    """Negative log-probability of the answers' tokens, summed; a scale of one over their number makes it a mean."""
    return -jnp.sum(logprobs_BxL * scale_BxL)


# ---- advantages: (rewards_PxG, is_valid_PxG) -> advantage_PxG, on the host ---------------------------------------
# Members without a valid reward leave every mean and get zero; where a group is the measure, so does one left alone.
# P are the prompts of one task.
def _off_the_mean(rewards_PxG: np.ndarray, is_valid_PxG: np.ndarray) -> np.ndarray:
    """Reward minus the group's mean, not divided by its standard deviation. Source: the paper, after CWM."""
    n_Px1 = is_valid_PxG.sum(1, keepdims=True)
    rewards_PxG = np.where(is_valid_PxG, rewards_PxG, 0.0)
    mean_Px1 = rewards_PxG.sum(1, keepdims=True) / np.maximum(n_Px1, 1)
    return np.where(is_valid_PxG & (n_Px1 >= 2), rewards_PxG - mean_Px1, 0.0)


def _standardised(rewards_PxG: np.ndarray, is_valid_PxG: np.ndarray) -> np.ndarray:
    """The same, divided by the group's standard deviation. Source: Shao et al. 2024, "DeepSeekMath" (GRPO)."""
    advantage_PxG = _off_the_mean(rewards_PxG, is_valid_PxG)
    n_Px1 = np.maximum(is_valid_PxG.sum(1, keepdims=True), 1)
    deviation_Px1 = np.sqrt((advantage_PxG**2).sum(1, keepdims=True) / n_Px1)
    return advantage_PxG / (deviation_Px1 + 1e-6)


def _leave_one_out(rewards_PxG: np.ndarray, is_valid_PxG: np.ndarray) -> np.ndarray:
    """Reward minus the mean of the others. Source: Ahmadian et al. 2024, "Back to Basics" (RLOO)."""
    n_Px1 = is_valid_PxG.sum(1, keepdims=True)
    return _off_the_mean(rewards_PxG, is_valid_PxG) * n_Px1 / np.maximum(n_Px1 - 1, 1)


def _off_the_batch(rewards_PxG: np.ndarray, is_valid_PxG: np.ndarray) -> np.ndarray:
    """Reward minus the mean over all groups, over their standard deviation. Source: Hu et al. 2025, "REINFORCE++"."""
    if not is_valid_PxG.any():
        return np.zeros(rewards_PxG.shape)
    found = rewards_PxG[is_valid_PxG]
    return np.where(is_valid_PxG, (np.where(is_valid_PxG, rewards_PxG, 0.0) - found.mean()) / (found.std() + 1e-6), 0.0)


ADVANTAGES = {
    "mean": _off_the_mean,
    "mean_std": _standardised,
    "leave_one_out": _leave_one_out,
    "batch": _off_the_batch,
}


# ---- normalisers: (tokens of each answer, answers of a full batch, fixed length) -> scale of each answer's tokens ----
NORMALISERS = {
    # A long answer is not favoured, and one batch weighs as the next. Source: the paper, after CWM.
    "fixed": lambda lengths_N, n, length: np.full(len(lengths_N), 1.0 / (n * length)),
    # Every token of the batch counts the same. Source: Yu et al. 2025, "DAPO".
    "token": lambda lengths_N, n, length: np.full(len(lengths_N), 1.0 / max(lengths_N.sum(), 1)),
    # Every answer counts the same, its tokens the less the longer it is. Source: Shao et al. 2024, GRPO.
    "sequence": lambda lengths_N, n, length: 1.0 / (n * np.maximum(lengths_N, 1)),
}


# ---- objectives: what a token gains, BxL, and how many tokens the clip holds back -------------------------------
def _clipped(ratio_BxL, advantage_BxL, mask_BxL, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    bounded_BxL = jnp.clip(ratio_BxL, 1.0 - low, 1.0 + high) * advantage_BxL
    free_BxL = ratio_BxL * advantage_BxL
    return jnp.minimum(free_BxL, bounded_BxL), jnp.sum(mask_BxL * (bounded_BxL < free_BxL))


def clipped(batch: dict, logprobs_BxL, old_BxL, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    """The clipped surrogate with separate bounds (Schulman et al. 2017; the paper's bounds)."""
    mask_BxL = batch["is_answer"].astype(jnp.float32)
    ratio_BxL = jnp.exp((logprobs_BxL - old_BxL) * mask_BxL)
    return _clipped(ratio_BxL, batch["advantage"], mask_BxL, low, high)


def sequence_clipped(batch: dict, logprobs_BxL, old_BxL, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    """The same with one ratio an answer, the geometric mean of its tokens'. Source: Zheng et al. 2025, "GSPO"."""
    mask_BxL, segments_BxL = batch["is_answer"].astype(jnp.float32), batch["segments"]
    n = segments_BxL.shape[1] + 1

    def mean_of_segment(x_L: jax.Array, mask_L: jax.Array, segments_L: jax.Array) -> jax.Array:
        total, count = (jax.ops.segment_sum(a, segments_L, n) for a in (x_L * mask_L, mask_L))
        return (total / jnp.maximum(count, 1.0))[segments_L]

    ratio_BxL = jnp.exp(jax.vmap(mean_of_segment)(logprobs_BxL - old_BxL, mask_BxL, segments_BxL))
    return _clipped(ratio_BxL, batch["advantage"], mask_BxL, low, high)


def policy_gradient(batch: dict, logprobs_BxL, old_BxL, low: float, high: float) -> tuple[jax.Array, jax.Array]:
    """Log-probability times advantage, whatever the policy was when it sampled (Williams 1992)."""
    return logprobs_BxL * batch["advantage"], jnp.zeros(())


OBJECTIVES = {"clipped": clipped, "sequence_clipped": sequence_clipped, "policy_gradient": policy_gradient}


def importance_weight(old_BxL: jax.Array, sampler_BxL: jax.Array, cap: float) -> jax.Array:
    """How much likelier a token is to the trainer than it was to the sampler, at most `cap`; BxL, no gradient.

    Source: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy training" (truncated).
    """
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(old_BxL - sampler_BxL), cap))


def kl_to_reference(logprobs_BxL: jax.Array, reference_BxL: jax.Array) -> jax.Array:
    """The estimate k3 of the divergence from a reference, token by token. Source: Schulman 2020, "Approximating KL"."""
    difference_BxL = reference_BxL - logprobs_BxL
    return jnp.exp(difference_BxL) - difference_BxL - 1.0
