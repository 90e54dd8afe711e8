"""A language or task SFT of the full teacher, sliced to the pair's vocabulary as the teacher itself is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.sparse_delta import SparseDelta, SparseUpdate
from .backbones import Backbone


def trim_delta(delta: SparseDelta, backbone: Backbone, token_map: Tensor) -> SparseDelta:
    """Keep of a delta what concerns kept tokens.

    Applying the result to a trimmed model gives the same weights as trimming a model that carries the delta.

    Args:
        delta: A delta of the full teacher.
        backbone: The teacher's backbone, which knows the parameters that have a row for each token.
        token_map: [V_student], the teacher's id of each kept token, ascending.

    Returns:
        A new delta; metadata is kept but for what counted the full vocabulary.
    """
    sparse = {}
    for name, update in delta.sparse.items():
        sparse[name] = _keep_rows(update, token_map) if backbone.has_vocabulary_rows(name) else update
    dense = {
        name: tensor[token_map] if backbone.has_vocabulary_rows(name) else tensor
        for name, tensor in delta.dense.items()
    }
    metadata = {key: value for key, value in delta.metadata.items() if key != "eligible_parameters"}
    return SparseDelta(sparse, dense, metadata)


def _keep_rows(update: SparseUpdate, token_map: Tensor) -> SparseUpdate:
    width = torch.Size(update.shape[1:]).numel()
    new_row = torch.full((update.shape[0],), -1, dtype=torch.int64)
    new_row[token_map] = torch.arange(len(token_map))
    rows = new_row[update.indices // width]
    kept = rows >= 0
    indices = rows[kept] * width + update.indices[kept] % width
    return SparseUpdate((len(token_map), *update.shape[1:]), indices, update.values[kept])
