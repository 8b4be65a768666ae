"""What a network is run with: PyTorch as it is, compiled, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dsd_bench.latency.timing import Call, Clock, repetitions
from dsd_bench.models.building import in_one_line
from dsd_bench.training.step import out_of_memory

BACKENDS = ("eager", "compile", "onnxruntime", "openvino")
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


class Skipped(Exception):
    """A backend cannot be used here; the message says why."""


class Ready:
    """A network that is ready to be called on its images.

    Attributes:
        call: computes the logits once.
        logits: of the images, to compare networks by.
        layout: of images and weights: ``nchw``, or ``nhwc`` where that was faster.
    """

    def __init__(self, call: Call, logits: Tensor, layout: str) -> None:
        self.call, self.logits, self.layout = call, logits, layout


def ready(
    backend: str, model: nn.Module | Path, images: Tensor, threads: int, clock: Clock
) -> Ready:
    """Prepare a network for a backend.

    Args:
        backend: one of :data:`BACKENDS`.
        model: in eval mode, on the images' device; or an .onnx file.
        images: normalised, ``(N, C, H, W)``, float.
        threads: of the processor.
        clock: chooses the faster layout.

    Raises:
        Skipped: if the backend is not installed or cannot take the network.
        MemoryError: if the images are too many.
    """
    if isinstance(model, Path) and backend in ("eager", "compile"):
        raise Skipped("PyTorch reads no .onnx files")
    makers: dict[str, Callable[..., Ready]] = {
        "eager": _eager,
        "compile": _compiled,
        "onnxruntime": _onnxruntime,
        "openvino": _openvino,
    }
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return makers[backend](model, images, threads, clock)
    except (Skipped, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever a backend raises for a network that it cannot take
        if out_of_memory(error):
            raise MemoryError(in_one_line(error)) from error
        raise Skipped(in_one_line(error)) from error


def _eager(model: nn.Module, images: Tensor, threads: int, clock: Clock) -> Ready:
    """Take the layout in which the network is faster."""
    found: list[tuple[float, Ready]] = []
    for layout, form in LAYOUTS.items():
        laid = model.to(memory_format=form) if layout == "nhwc" else model
        given = images.contiguous(memory_format=form)
        one = Ready(_inference(laid, given), laid(given), layout)
        times = repetitions(one.call, clock)
        found.append((min(clock(one.call, times) for _ in range(3)), one))
        if not _spatial(model):
            break
    best = min(found, key=lambda pair: pair[0])[1]
    if best.layout == "nchw":
        model.to(memory_format=torch.contiguous_format)
    return best


def _spatial(model: nn.Module) -> bool:
    """Whether a network holds weights of convolutions."""
    return any(tensor.ndim == 4 for tensor in model.state_dict().values())


def _inference(model: Callable[[Tensor], Tensor], images: Tensor) -> Call:
    def call() -> object:
        with torch.inference_mode():
            return model(images)

    return call


def _compiled(model: nn.Module, images: Tensor, threads: int, clock: Clock) -> Ready:
    made = torch.compile(model, dynamic=False)
    return Ready(_inference(made, images), made(images), "nchw")


def _needs(*names: str) -> None:
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise Skipped(f"{' and '.join(missing)} not installed")


def _onnx(model: nn.Module | Path, images: Tensor) -> bytes:
    """Return a network as ONNX for images of exactly these shapes."""
    if isinstance(model, Path):
        return model.read_bytes()
    _needs("onnx", "onnxscript")
    program = torch.onnx.export(
        model, (images,), dynamo=True, verbose=False, input_names=["images"],
        output_names=["logits"],
    )  # fmt: skip
    assert program is not None
    buffer = io.BytesIO()
    buffer.write(program.model_proto.SerializeToString())
    return buffer.getvalue()


def _onnxruntime(model: nn.Module | Path, images: Tensor, threads: int, clock: Clock) -> Ready:
    _needs("onnxruntime")
    _on_cpu(images)
    data = _onnx(model, images)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: images.numpy()}
    logits = torch.from_numpy(session.run(None, given)[0])
    return Ready(lambda: session.run(None, given), logits, "nchw")


def _openvino(model: nn.Module | Path, images: Tensor, threads: int, clock: Clock) -> Ready:
    _needs("openvino")
    _on_cpu(images)
    data = _onnx(model, images)
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    made = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", settings)
    request, given = made.create_infer_request(), [images.numpy()]
    logits = torch.from_numpy(next(iter(request.infer(given).values())).copy())
    return Ready(lambda: request.infer(given, share_inputs=True), logits, "nchw")


def _on_cpu(images: Tensor) -> None:
    if images.device.type != "cpu":
        raise Skipped("is measured on the CPU only")
