"""In vLLM's place: a copy of the model behind TRL's own way to an engine, in the process or behind HTTP."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import requests
import torch
from safetensors.torch import load, save
from transformers import AutoModelForCausalLM
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

LOGPROBS_MODE = "processed_logprobs"
"""As TRL wants a server to be started."""


class Copy:
    """A model that is given weights by name and samples one token a prompt."""

    def __init__(self, config):
        self.model = AutoModelForCausalLM.from_config(config).eval()

    def load_weights(self, named):
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in named:
                parameters[name].copy_(weight)

    def sample(self, prompts, temperature):
        """Return for each prompt a token and its log-probability."""
        with torch.no_grad():
            logps = [self.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in prompts]
        tokens = [int(x.argmax() if temperature == 0 else torch.multinomial(x.exp(), 1)) for x in logps]
        return [(token, float(x[token])) for token, x in zip(tokens, logps, strict=True)]


class InProcess(VLLMGeneration):
    """TRL's colocate mode: the hand-over of weights is TRL's, the engine a `Copy`."""

    def _init_vllm(self):
        self.copy, self.num_calls = Copy(self.model.config), 0
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=self.copy))
        executor = SimpleNamespace(driver_worker=worker)
        self.llm = SimpleNamespace(llm_engine=SimpleNamespace(model_executor=executor), reset_prefix_cache=lambda: None)

    def generate(self, prompts, images, num_generations, profiler=None):
        self.num_calls += 1
        sampled = self.copy.sample(prompts, self.temperature)
        return prompts, [[token] for token, _ in sampled], [[[logp]] for _, logp in sampled], None


class HttpClient(VLLMClient):
    """TRL's client, but that weights go to the server by HTTP, since a CPU has no NCCL."""

    def init_communicator(self, device=0):
        pass

    def update_named_params(self, metadata, named):
        weights = {name: weight.detach().clone() for name, weight in named}
        assert [name for name, _, _ in metadata] == list(weights)
        requests.post(f"{self.base_url}/weights", data=save(weights), timeout=30).raise_for_status()


@contextmanager
def served(config):
    """Serve a `Copy` by what TRL's client asks of vLLM's server; yield the address and the prompts of each call."""
    copy, calls = Copy(config), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({"data": [{"id": "copy"}], "vllm_config": {"model_config": {"logprobs_mode": LOGPROBS_MODE}}})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/weights":
                copy.load_weights(load(body).items())
            if self.path != "/v1/completions":
                self.answer({})
                return
            asked = json.loads(body)
            calls.append(len(asked["prompt"]))
            sampled = copy.sample(asked["prompt"], asked["temperature"])
            self.answer({"choices": [choice(*x) for x in zip(asked["prompt"], sampled, strict=True)]})

        def answer(self, content):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        server.server_close()


def choice(prompt, sampled):
    token, logp = sampled
    logprobs = {"tokens": [f"token_id:{token}"], "token_logprobs": [logp], "top_logprobs": [None]}
    return {"prompt_token_ids": prompt, "token_ids": [token], "logprobs": logprobs}
