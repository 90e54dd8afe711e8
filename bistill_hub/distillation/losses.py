"""What the student is asked to match: the teacher's attentions, hidden states and, for a task, its logits.

Phase 1 minimises attention + hidden, phase 2 attention + hidden + soft cross-entropy, all with weight 1 (Ansell et al.
2023, sections 3.1 and 3.2). Divergences of attentions (Sun et al. 2020) and of relations (Wang et al. 2021) can be
added. Every term is a mean over what is really there: padded positions count in no numerator and in no denominator.
Without padding the terms of the method equal those of the authors' code.

Alignment. Student layer i (0-based) answers to teacher layer `layer_map[i]`, so its attention is compared with that
layer's and its output with that layer's output; the embedding outputs are compared with each other. Without a map the
layers are spread evenly: `layer_map[i] = (i + 1) * LRF - 1` with LRF the quotient of the layer counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax


def attention_loss(
    student_attentions: Sequence[Tensor],
    teacher_attentions: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    *,
    layer_map: Sequence[int] | None = None,
) -> Tensor:
    """Mean squared error between attention probabilities, averaged over the student's layers.

    Args:
        student_attentions: One tensor [batch, heads, queries, keys] per student layer, after softmax, as a model
            returns them for `output_attentions=True` under eager attention.
        teacher_attentions: The same for the teacher, with the same heads.
        attention_mask: [batch, positions], 1 for a token and 0 for padding. Pairs in which query or key is padding do
            not count. None: nothing is padded.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.

    Returns:
        A scalar in float32 (float64 for float64 inputs).

    Raises:
        ValueError: nothing was captured, the layer counts do not divide, or shapes differ.
    """
    pairs = _aligned(student_attentions, teacher_attentions, layer_map, "attentions")
    weights = None
    if attention_mask is not None:
        real = attention_mask.bool()
        weights = (real[:, :, None] & real[:, None, :])[:, None]
    return torch.stack([_mean_squared_error(student, teacher, weights) for student, teacher in pairs]).mean()


def hidden_state_loss(
    student_hidden_states: Sequence[Tensor],
    teacher_hidden_states: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    *,
    layer_map: Sequence[int] | None = None,
) -> Tensor:
    """Mean squared error between hidden states, averaged over the embedding output and the student's layers.

    Args:
        student_hidden_states: One tensor [batch, positions, hidden size] for the embedding output and one per student
            layer, as a model returns them for `output_hidden_states=True`.
        teacher_hidden_states: The same for the teacher, with the same hidden size.
        attention_mask: [batch, positions], 1 for a token and 0 for padding; None: nothing is padded.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.

    Returns:
        A scalar in float32 (float64 for float64 inputs).

    Raises:
        ValueError: nothing was captured, the layer counts do not divide, or shapes differ.
    """
    embeddings = _aligned(student_hidden_states[:1], teacher_hidden_states[:1], None, "hidden states")
    layers = _aligned(student_hidden_states[1:], teacher_hidden_states[1:], layer_map, "hidden states")
    weights = None if attention_mask is None else attention_mask.bool()[:, :, None]
    return torch.stack(
        [_mean_squared_error(student, teacher, weights) for student, teacher in embeddings + layers]
    ).mean()


def attention_divergence(
    student_attentions: Sequence[Tensor],
    teacher_attentions: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    *,
    layer_map: Sequence[int] | None = None,
) -> Tensor:
    """Kullback-Leibler divergence of the student's attention from the teacher's (Sun et al. 2020, MobileBERT).

    Args:
        student_attentions: One tensor [batch, heads, queries, keys] per student layer, after softmax.
        teacher_attentions: The same for the teacher, with the same heads.
        attention_mask: [batch, positions], 1 for a token and 0 for padding; padded queries and keys do not count.
        layer_map: For each student layer the 0-based teacher layer it answers to; None spreads them evenly.

    Returns:
        The mean over layers, heads and queries, in nats, as a scalar in float32 (float64 for float64 inputs).

    Raises:
        ValueError: nothing was captured, the layer counts do not divide, or shapes differ.
    """
    pairs = _aligned(student_attentions, teacher_attentions, layer_map, "attentions")
    return torch.stack(
        [_mean_divergence(_logs(student), _logs(teacher), attention_mask) for student, teacher in pairs]
    ).mean()


def relation_divergence(
    student_projections: Sequence[Tensor],
    teacher_projections: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    *,
    heads: int,
) -> Tensor:
    """Kullback-Leibler divergence of the student's self-attention relations from the teacher's (MiniLMv2).

    A relation is softmax(A A^T / sqrt(d)) for the queries, the keys or the values A of one layer, split into relation
    heads of width d (Wang et al. 2021, section 3.1).

    Args:
        student_projections: Queries, keys and values of one student layer, [batch, positions, hidden size] each.
        teacher_projections: The same of the teacher layer that it answers to.
        attention_mask: [batch, positions], 1 for a token and 0 for padding, which counts neither as row nor as column.
        heads: Relation heads; they need not be the attention's, but must divide both hidden sizes.

    Returns:
        The mean over the three relations, heads and positions, in nats, as a scalar in float32 (float64 for float64).

    Raises:
        ValueError: the heads do not divide a hidden size.
    """
    terms = []
    for student, teacher in zip(student_projections, teacher_projections, strict=True):
        ours, theirs = (_log_relations(side, attention_mask, heads) for side in (student, teacher))
        terms.append(_mean_divergence(ours, theirs, attention_mask))
    return torch.stack(terms).mean()


def soft_cross_entropy(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 2.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the student's distribution under the teacher's, both softened; no factor of temperature squared.

    Args:
        student_logits: [..., classes].
        teacher_logits: The same shape.
        temperature: What both logits are divided by before the softmax; above 0.
        mask: [...], true where a distribution counts (the labelled positions of a tagging task); None: all count.

    Returns:
        The mean over the distributions that count, as a scalar in float32 (float64 for float64 inputs); 0 if none does.

    Raises:
        ValueError: shapes differ or the temperature is not positive.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher logits have different shapes: {tuple(student_logits.shape)}, "
            f"{tuple(teacher_logits.shape)}"
        )
    if temperature <= 0:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    target = softmax(_at_least_float32(teacher_logits) / temperature, dim=-1)
    entropy = -(target * log_softmax(_at_least_float32(student_logits) / temperature, dim=-1)).sum(dim=-1)
    if mask is None:
        return entropy.mean()
    counted = mask.bool()
    return torch.where(counted, entropy, 0).sum() / counted.sum().clamp(min=1)


def _aligned(
    student: Sequence[Tensor], teacher: Sequence[Tensor], layer_map: Sequence[int] | None, what: str
) -> list[tuple[Tensor, Tensor]]:
    """Pair each student layer's tensor with that of the teacher layer it answers to."""
    if len(student) == 0 or len(teacher) == 0:
        side = "student" if len(student) == 0 else "teacher"
        raise ValueError(
            f"the {side} returned no {what}, so there is nothing to compare; load it with attn_implementation='eager' "
            f"and ask it for output_{what.replace(' ', '_')}=True"
        )
    if layer_map is None:
        factor, rest = divmod(len(teacher), len(student))
        if rest:
            raise ValueError(
                f"{len(teacher)} teacher layers cannot be spread evenly over {len(student)} student layers: "
                "pass layer_map"
            )
        layer_map = [(layer + 1) * factor - 1 for layer in range(len(student))]
    if len(layer_map) != len(student):
        raise ValueError(f"layer_map names {len(layer_map)} teacher layers for {len(student)} student layers")
    if not all(0 <= layer < len(teacher) for layer in layer_map):
        raise ValueError(f"layer_map {tuple(layer_map)} leaves the teacher's layers 0 to {len(teacher) - 1}")
    pairs = [(one, teacher[layer]) for one, layer in zip(student, layer_map, strict=True)]
    for one, other in pairs:
        if one.shape != other.shape:
            raise ValueError(
                f"student and teacher {what} have different shapes: {tuple(one.shape)}, {tuple(other.shape)}"
            )
    return pairs


def _mean_squared_error(student: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the elements whose weight (broadcast to the tensors' shape) is true."""
    error = (_at_least_float32(student) - _at_least_float32(teacher)).square()
    if weights is None:
        return error.mean()
    # `where`, not a product: whatever stands at a padded position, infinities included, must not reach the sum.
    return torch.where(weights, error, 0).sum() / weights.expand_as(error).sum().clamp(min=1)


def _logs(probabilities: Tensor) -> Tensor:
    """Logarithms; probabilities of 0, such as those of padded keys, are taken for the smallest number there is."""
    return _at_least_float32(probabilities).clamp_min(torch.finfo(torch.float32).tiny).log()


def _log_relations(states: Tensor, attention_mask: Tensor | None, heads: int) -> Tensor:
    """Return log softmax(A A^T / sqrt(d)), [batch, heads, positions, positions]."""
    width, rest = divmod(states.shape[-1], heads)
    if rest:
        raise ValueError(f"{heads} relation heads do not divide the hidden size {states.shape[-1]}")
    split = _at_least_float32(states).unflatten(-1, (heads, width)).transpose(1, 2)
    scores = split @ split.transpose(2, 3) / width**0.5
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask.bool()[:, None, None, :], torch.finfo(scores.dtype).min)
    return log_softmax(scores, dim=-1)


def _mean_divergence(student_logs: Tensor, teacher_logs: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Mean of KL(teacher || student) over the rows that are tokens; both are [batch, heads, rows, columns]."""
    rows = (teacher_logs.exp() * (teacher_logs - student_logs)).sum(dim=-1)
    if attention_mask is None:
        return rows.mean()
    real = attention_mask.bool()[:, None, :].expand_as(rows)
    return torch.where(real, rows, 0).sum() / real.sum().clamp(min=1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
