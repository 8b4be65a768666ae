"""Knowledge distillation, equation 2 of the paper."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dsd_bench.regularizers import Regularizer, Step, TrainingView
from dsd_bench.regularizers.builtin import DistillationParams


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return tau^2 * KL(softmax(t / tau) || softmax(s / tau)), the batch's mean, in nats.

    In float32, also under autocast, which lowers none of these operations. No gradient goes into
    the teacher.

    Args:
        student: logits ``(B, classes)``.
        teacher: logits ``(B, classes)``.
        temperature: tau > 0.
    """
    divergence = functional.kl_div(
        (student.float() / temperature).log_softmax(1),
        (teacher.detach().float() / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


class Distillation(Regularizer):
    """Loss -> (1 - alpha) * loss + alpha * tau^2 * KL(teacher || student), eq. (2).

    ``loss`` is what came before in the chain: with ``kd`` first, the cross-entropy of eq. (2).
    """

    params: DistillationParams

    def begin(self, view: TrainingView) -> None:
        """Keep the teacher: it sees the images as augmented for the student."""
        assert view.teacher is not None, "the core gives kd its teacher"
        self._teacher = view.teacher

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        """Return the mixture of ``loss`` and the teacher's part."""
        alpha = self.params.alpha
        logits = self._teacher(step.images, step.index)
        return (1 - alpha) * loss + alpha * distillation(
            step.logits, logits, self.params.temperature
        )
