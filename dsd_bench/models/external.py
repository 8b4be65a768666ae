"""Models of timm and torchvision, by name."""

from __future__ import annotations

import difflib
import re
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from dsd_bench.errors import UsageError
from dsd_bench.models import ModelFactory
from dsd_bench.models.builtin import ExternalParams

Shape = tuple[int, int, int]
T = TypeVar("T")


class _ExternalFactory(ModelFactory):
    """What the two libraries share: names, pretrained weights, and whether the images fit."""

    params: ExternalParams
    library: str

    def build(self, shape: Shape, classes: int, *, download: bool = False) -> nn.Module:
        """Return the network; see :meth:`ModelFactory.build`.

        Raises:
            UsageError: for an unknown name, for images that the model cannot take, and for
                ``pretrained=true`` without ``download`` or without published weights.
        """
        self._know()
        if self.params.pretrained and not download:
            raise UsageError(f"{self._where}: pretrained=true fetches weights: add --download")
        model = self._attempt(shape, lambda: self.create(shape, classes))
        logits = self._attempt(shape, lambda: _try_out(model, shape))
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
            raise UsageError(f"{self._where} is no classifier: it does not give (N, {classes})")
        return model

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all models of the library."""

    @abstractmethod
    def create(self, shape: Shape, classes: int) -> nn.Module:
        """Return the model, with its pretrained weights if they are asked for."""

    @property
    def _where(self) -> str:
        return f"model '{self.library}:{self.params.name}'"

    def _know(self) -> None:
        """Refuse an unknown name (what follows a dot names timm's weights)."""
        name, names = self.params.name, self.names()
        if name.partition(".")[0] not in names:
            near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
            hint = f"; the nearest of its {len(names)} names: {', '.join(near)}" if near else ""
            raise UsageError(f"{self._where}: {self.library} has no model '{name}'{hint}")

    def _attempt(self, shape: Shape, step: Callable[[], T]) -> T:
        """Do what the library may refuse, by whatever exception, and say so in one line."""
        try:
            return step()
        except Exception as error:
            images = "x".join(map(str, shape))
            weights = " with published weights" if self.params.pretrained else ""
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
            message = f"{self._where} cannot be built{weights} for {images} images: {reason}"
            raise UsageError(message) from error


def _try_out(model: nn.Module, shape: Shape) -> Any:
    """Return what the model makes of two black images, in eval mode."""
    model.eval()
    with torch.no_grad():
        logits = model(torch.zeros(2, *shape))
    model.train()
    return logits


class TimmFactory(_ExternalFactory):
    """``timm:NAME``: the library adapts channels, classes and, where it can, the image size."""

    library = "timm"

    def names(self) -> list[str]:
        """Return the names of all models of timm."""
        import timm

        return timm.list_models()

    def create(self, shape: Shape, classes: int) -> nn.Module:
        """Return the model; those of a fixed size (most transformers) are built for ours."""
        import timm

        channels, *size = shape
        config = timm.models.get_pretrained_cfg(self.params.name)
        fixed = config is not None and config.fixed_input_size
        options: dict[str, Any] = {"img_size": tuple(size)} if fixed else {}
        return timm.create_model(
            self.params.name,
            pretrained=self.params.pretrained,
            num_classes=classes,
            in_chans=channels,
            **options,
        )


class GrayToRGB(nn.Module):
    """Repeats the single channel for a network of RGB images, ``(N, 1, H, W) -> (N, 3, H, W)``."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``images`` with three equal channels."""
        return images.expand(-1, 3, -1, -1)


class TorchvisionFactory(_ExternalFactory):
    """``torchvision:NAME``, a classification model; grayscale images are repeated to RGB."""

    library = "torchvision"

    def names(self) -> list[str]:
        """Return the names of torchvision's classification models."""
        from torchvision import models

        names: list[str] = models.list_models(module=models)
        return names

    def create(self, shape: Shape, classes: int) -> nn.Module:
        """Return the model, behind :class:`GrayToRGB` if the images have one channel."""
        from torchvision import models

        name, (channels, *size) = self.params.name, shape
        if channels not in (1, 3):
            raise ValueError(f"torchvision's models take 1 or 3 channels, not {channels}")
        model: nn.Module = models.get_model(
            name, weights=None, num_classes=classes, **_options(name, size)
        )
        if self.params.pretrained:
            load_published(model, models.get_model_weights(name).DEFAULT, classes)
        return model if channels == 3 else nn.Sequential(GrayToRGB(), model)


def _options(name: str, size: list[int]) -> dict[str, Any]:
    """Return what some of torchvision's models need to be told beside the classes."""
    if name.startswith("vit_"):
        if size[0] != size[1]:
            raise ValueError("it takes square images only")
        return {"image_size": size[0]}
    if name.startswith("maxvit"):
        return {"input_size": tuple(size)}
    if name in ("googlenet", "inception_v3"):
        # Auxiliary heads would turn the output in training into a tuple.
        return {"aux_logits": False, "init_weights": True}
    return {}


def load_published(model: nn.Module, weights: Any, classes: int) -> None:
    """Load published weights; a head for another number of classes stays freshly initialised.

    torchvision itself would unpickle the file, and refuse another number of classes.

    Args:
        model: one of torchvision's, loaded in place.
        weights: its entry of torchvision's enumeration of published weights.
        classes: number of classes of ``model``.

    Raises:
        ValueError: naming the parameter that is missing or of another shape.
    """
    state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    for key in list(state):
        # DenseNet's files are older than its modules' names.
        state[re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)] = state.pop(key)
    published = len(weights.meta["categories"])
    head = set()
    for key, ours in model.state_dict().items():
        theirs = state.get(key, ours)
        if ours.shape != theirs.shape:
            if ours.shape != (classes, *theirs.shape[1:]) or len(theirs) != published:
                shapes = f"{tuple(theirs.shape)}, not {tuple(ours.shape)}"
                raise ValueError(f"the published '{key}' has the shape {shapes}")
            head.add(key)
            del state[key]
    # Not strict: files of models with auxiliary heads hold more than is used here.
    missing = set(model.load_state_dict(state, strict=False).missing_keys) - head
    if missing:
        raise ValueError(f"the published weights lack {', '.join(sorted(missing))}")
