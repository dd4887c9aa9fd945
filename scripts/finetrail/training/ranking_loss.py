"""Losses of a cross-encoder over one positive passage and its negatives, for sentence-transformers' trainer."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from torch import Tensor, nn

Kind = Literal["margin", "softmax"]


def ranking_loss(model: "CrossEncoder", kind: Kind, margin: float) -> "nn.Module":
    """Build the loss; rows hold a query and a list of passages, of which the first is the positive one.

    Args:
        model: with one output.
        kind: ``margin``: each negative should score lower than the positive by the margin (hinge, mean over the pairs);
            ``softmax``: cross entropy of the positive among all passages of the row, which is ListNet's loss with all
            mass on it (Cao et al. 2007).
        margin: of ``margin``.
    """
    import torch
    from sentence_transformers.util import batch_to_device
    from torch import nn

    class RankingLoss(nn.Module):
        """See `ranking_loss`."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, inputs: list[Any], labels: Any, prompt: str | None = None, task: str | None = None
        ) -> "Tensor":
            """Return the mean loss of the batch's rows; the labels say nothing that the order does not."""
            queries, lists = inputs
            pairs = [(query, text) for query, texts in zip(queries, lists, strict=True) for text in texts]
            tokens = batch_to_device(model.preprocess(pairs, prompt=prompt, task=task), model.device)
            scores = model(tokens)["scores"].view(-1).float()
            return torch.stack([_row_loss(row) for row in scores.split([len(texts) for texts in lists])]).mean()

        def get_config_dict(self) -> dict[str, Any]:
            """Describe the loss for the model card."""
            return {"kind": kind, "margin": margin}

    def _row_loss(scores: "Tensor") -> "Tensor":
        if kind == "margin":
            return nn.functional.relu(margin - scores[0] + scores[1:]).mean()
        return -torch.log_softmax(scores, dim=0)[0]

    return RankingLoss()
