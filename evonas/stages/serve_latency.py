"""stage=serve_latency: let searches on other computers measure latencies on this one."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.config import to_plain
from evonas.errors import EngineError, UserError
from evonas.runtimes import latency_server
from evonas.runtimes.device import TOKEN_FILE
from evonas.stages.base import Context


class ServeLatency:
    """Runs the latency server of `evonas/runtimes/latency_server.py` until Ctrl-C; writes nothing.

    The token is the environment's EVONAS_DEVICE_TOKEN, or that of the file EVONAS_DEVICE_TOKEN_FILE names; without
    either a new one is printed. The file works alone too: copied to a phone or a board, it needs Python 3.9, numpy and
    ONNX Runtime.

    Args:
        host: address to listen on; the loopback interface by default.
        port: 0 for any free one.
        name: of the device; null for its host name.
        cores: cores that models run on, such as `4-7`; null for all.
        provider: of ONNX Runtime.
        benchmark: a program that times in place of ONNX Runtime: command, pattern and unit.
        timeout_s: limit of one job.
        max_mb: limit of one job's models.
    """

    needs_task = False

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = latency_server.PORT,
        name: str | None = None,
        cores: str | int | None = None,
        provider: str = "CPUExecutionProvider",
        benchmark: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
        max_mb: int = 256,
    ) -> None:
        if not 0 <= port < 65536 or timeout_s <= 0 or max_mb < 1:
            raise UserError(
                f"stage.port={port}, stage.timeout_s={timeout_s} and stage.max_mb={max_mb} do not fit together.",
                "A port is 0 to 65535, and both limits are positive.",
            )
        try:
            self.settings = latency_server.Settings(
                name=name or "",
                cores=latency_server.parse_cores("" if cores is None else str(cores)),
                provider=provider,
                benchmark=(
                    latency_server.benchmark_of(to_plain(benchmark), "stage.benchmark") if benchmark else None
                ),
                timeout_s=timeout_s,
                max_bytes=max_mb * 2**20,
            )
        except ValueError as error:
            raise UserError(f"{error}.", "See docs/stages/serve_latency.md") from error
        self.host, self.port = host, port

    def run(self, context: Context) -> str:
        """Serve until a signal.

        Raises:
            UserError: the token file has no token, or ONNX Runtime is missing.
            EngineError: the address cannot be used.
        """
        del context
        token = os.environ.get(latency_server.TOKEN, "")
        named = os.environ.get(TOKEN_FILE, "")
        if named and not token:
            try:
                token = Path(named).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"The token file {named} cannot be read: {error}.") from error
            if not re.fullmatch(r"\S{16,}", token):
                raise UserError(
                    f"The token file {named} has no token.", "Write a word of 16 letters or more into it."
                )
        try:
            latency_server.serve(self.settings, self.host, self.port, token)
        except ImportError as error:
            raise UserError(
                f"The server cannot time models: {error}.", "pip install 'evonas[export]'"
            ) from error
        except OSError as error:
            raise EngineError(
                f"The server cannot listen on {self.host}:{self.port}: {error.strerror}.",
                "Another may be running: stage.port=0 takes a free port.",
            ) from error
        return "The latency server has ended."
