"""A worker process: takes runs as JSON lines on standard input, answers with events.

It stops at the next step, with a checkpoint, when it is told to, on SIGTERM, and when its standard
input closes (the command that started it is gone).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dsd_bench.config.run import RunConfig
from dsd_bench.environment.contained import private_streams
from dsd_bench.errors import DsdError
from dsd_bench.executors import Event, Settings, check_here

Message = dict[str, Any]


def main() -> None:
    """Answer requests until standard input closes."""
    requested, out = private_streams()
    assert requested is not None
    assert out is not None
    sys.stdin, sys.stdout = open(os.devnull, encoding="utf-8"), sys.stderr  # noqa: SIM115
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def leave(number: int, frame: Any) -> None:
        stop.set()
        requests.put(None)

    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=_listen, args=(requested, requests, stop), daemon=True).start()

    def send(message: Message) -> None:
        try:
            out.write(json.dumps(message) + "\n")
            out.flush()
        except (BrokenPipeError, ValueError):
            stop.set()  # nobody listens any more

    while (request := requests.get()) is not None and not stop.is_set():
        if "check" in request:
            send(_check(settings_from(request["check"])))
        elif "try" in request:
            send(_try_out(request, send))
        else:
            send(_run(request, send, stop))
    # everything is written and said; taking torch apart again would take longer than a round
    sys.stderr.flush()
    os._exit(0)


def _listen(
    requested: TextIO, requests: queue.SimpleQueue[Message | None], stop: threading.Event
) -> None:
    for line in requested:
        request = json.loads(line)
        if "stop" in request:
            stop.set()
        else:
            requests.put(request)
    stop.set()
    requests.put(None)


def _check(settings: Settings) -> Message:
    """Say whether the device is there, and how many of its kind."""
    import torch

    from dsd_bench.training.device import resolve

    try:
        device = resolve(settings.device)
    except DsdError as error:
        return {"event": "ready", "error": str(error)}
    indexed = settings.device in ("auto", device.type) and device.type != "cpu"
    count = getattr(torch, device.type).device_count() if indexed else 1
    return {"event": "ready", "device": str(device), "count": count}


def _try_out(request: Message, send: Callable[[Message], None]) -> Message:
    """Check the runs that are to come; see :meth:`dsd_bench.executors.Executor.check`."""
    settings = settings_from(request["settings"])
    try:
        configs = [RunConfig.from_json(value) for value in request["try"]]
        check_here(configs, settings, send)
    except DsdError as error:
        return {"event": "tried", "error": str(error), "exit_code": error.exit_code}
    return {"event": "tried"}


def _run(request: Message, send: Any, stop: threading.Event) -> Message:
    from dsd_bench.executors.packing import measured
    from dsd_bench.experiment.runner import run_folder
    from dsd_bench.training.device import resolve

    settings, told = settings_from(request["settings"]), False

    def emit(event: Event) -> None:
        nonlocal told
        send(event)
        if event["event"] == "round" and not told:  # it has trained as a graph, and measured
            told = True
            if memory := measured(resolve(settings.device)):
                send({"event": "memory", **asdict(memory)})

    outcome = run_folder(Path(request["run"]), settings, emit, stop.is_set, request["fresh"])
    return {"event": "outcome", **asdict(outcome)}


def settings_to(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON."""
    return {**asdict(settings), "data_dir": str(settings.data_dir)}


def settings_from(value: dict[str, Any]) -> Settings:
    """Undo :func:`settings_to`."""
    return Settings(**{**value, "data_dir": Path(value["data_dir"])})


if __name__ == "__main__":
    main()
