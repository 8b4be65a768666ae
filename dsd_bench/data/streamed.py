"""Images that do not fit into memory: decoded in threads, ahead of the batch in work.

What an image decodes to depends on its file, the epoch's key and its place in the epoch: not on
the number of threads, nor on where a training is taken up again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy
import torch
from torch import Tensor

from dsd_bench.data import images as decoding
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.parts import Part

AHEAD = 2
"""Batches decoded while one is in use; more where a batch is too small to keep threads busy."""

Decode = Callable[[int, int], decoding.Pixels]
Begun = tuple[Tensor, list[Future[None]]]


class StreamedPart(Part):
    """One part of the data whose images are files; labels live on the device.

    Args:
        files: the images.
        labels: int64 ``(N,)`` on the device, given.
        clean: int64 ``(N,)`` on the device, true where known.
        crop: whether an epoch's images are random boxes: see :attr:`RawData.crop`.
        share: which of a training batch's ``n`` images this process decodes; default: all.
        workers: threads that decode (default: see :func:`dsd_bench.data.images.workers`).
    """

    streamed = True

    def __init__(
        self,
        files: ImageFiles,
        labels: Tensor,
        clean: Tensor,
        *,
        crop: bool = False,
        share: Callable[[int], slice] = lambda count: slice(0, count),
        workers: int | None = None,
    ) -> None:
        super().__init__(labels, clean)
        self.files, self.crop, self.share = files, crop, share
        self.workers = workers or decoding.workers()

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's ``(C, H, W)``."""
        return self.files.shape[1:]

    def gather(self, index: Tensor) -> Tensor:
        """Return the images at ``index`` ``(B,)``, not augmented."""
        (images,) = self._stream(index, max(1, len(index)), 0, self._plain)
        return images

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, ``size`` at a time, not augmented."""
        return self._stream(torch.arange(len(self)), size, 0, self._plain)

    def batches(self, order: Tensor, size: int, first: int, key: int) -> Iterator[Tensor]:
        """Yield an epoch's images, random boxes where ``crop`` says so: see :class:`Part`."""

        def boxed(position: int, place: int) -> decoding.Pixels:
            draw = numpy.random.Generator(numpy.random.Philox(key=[key, position]))
            return decoding.decode_box(self.files, place, draw)

        return self._stream(order, size, first, boxed if self.crop else self._plain, self.share)

    def _plain(self, position: int, place: int) -> decoding.Pixels:
        return decoding.decode(self.files, place)

    def _stream(
        self,
        order: Tensor,
        size: int,
        first: int,
        decode: Decode,
        share: Callable[[int], slice] | None = None,
    ) -> Iterator[Tensor]:
        """Yield ``decode(position, order[position])``, ``size`` at a time, in order.

        With ``share`` only that of each batch.
        """
        places = order.tolist()
        pending: deque[Begun] = deque()
        ahead = max(AHEAD, -(-2 * self.workers // size))
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            for start in range(first * size, len(places), size):
                positions = range(start, min(start + size, len(places)))
                if share is not None:
                    positions = positions[share(len(positions))]
                pending.append(self._begin(pool, positions, places, decode))
                if len(pending) > ahead:
                    yield self._finish(*pending.popleft())
            while pending:
                yield self._finish(*pending.popleft())
        finally:  # also when whoever asked has had enough
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, positions: range, places: list[int], decode: Decode
    ) -> Begun:
        """Have a batch decoded into memory from which it can be copied to the device."""
        pinned = self.labels.device.type == "cuda"
        shape = (len(positions), *self.shape)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        array: numpy.typing.NDArray[Any] = images.numpy()

        def fill(row: int, position: int) -> None:
            array[row] = decode(position, places[position])

        return images, [pool.submit(fill, row, at) for row, at in enumerate(positions)]

    def _finish(self, images: Tensor, rows: list[Future[None]]) -> Tensor:
        """Wait for a batch and copy it to the device.

        Raises:
            DataError: naming an image that cannot be read.
        """
        for row in rows:
            row.result()
        return images.to(self.labels.device, non_blocking=True)
