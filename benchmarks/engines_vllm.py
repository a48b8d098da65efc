"""Train with a real vLLM on the CPU, and compare its weights, its choices and its log-probabilities with the trainer's.

    python benchmarks/engines_vllm.py --json FILE       # in vLLM's environment: make .venv-vllm

Every case runs in a process of its own, since an engine does not leave one as it was. At each hand-over of weights the
engine's are compared with the trainer's, adapters merged, before and after; then both choose greedily from the same
prompts, and the engine's log-probabilities are compared with those of a forward pass of the trainer's model.

vLLM's CPU backend repacks weights for oneDNN and drops them, and then TRL finds nothing to load into; that is no matter
of GPUs. `keep_weights_in_place` switches that off. Speed is not measured here: this model is far too small.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines_server import PORT, by_server, measured_with_server
from provenance import provenance

if TYPE_CHECKING:
    from trl_3spo import ThreeSPOTrainer

# Before vLLM is imported: 1 GiB for its cache, and nothing compiled.
os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1", "HF_HUB_OFFLINE": "1"}

CASES: dict[str, dict[str, Any]] = {
    "corridor": {"vllm_dtype": "float32", "max_steps": 4, "learning_rate": 1e-2},
    "lora": {"vllm_dtype": "float32", "max_steps": 3, "learning_rate": 1e-2},
    "late": {"vllm_dtype": "float32", "max_steps": 4, "learning_rate": 1e-2, "vllm_sync_steps": 2},
    "uncorrected": {"vllm_dtype": "float32", "max_steps": 2, "vllm_importance_sampling_correction": False},
    "alfworld": {"max_steps": 2, "per_device_train_batch_size": 32, "max_completion_length": 10},
    "alfworld_lora": {"vllm_dtype": "float32", "max_steps": 2, "max_completion_length": 10, "learning_rate": 1e-2},
    "server": {"vllm_mode": "server", "max_steps": 1},
}
"""Changes of the options, by name; `alfworld` has vLLM's own choice of type, bfloat16."""
EXACT = ("corridor", "lora", "alfworld_lora")
"""Cases whose weights are handed over at once and in float32."""
NUM_PROBES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--alone", action="store_true", help="the one case, in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        [case] = arguments.cases
        result = measured(case)
    else:
        earlier = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        cases = earlier.get("cases", {})
        for case in arguments.cases:
            origin = {"commit": provenance()["commit"]}
            cases[case] = origin | (by_server() if case == "server" else in_own_process(case))
        if errors := [f"{name}: {case['error']}" for name, case in cases.items() if "error" in case]:
            sys.exit("\n".join(errors))
        exact = [cases[case] for case in EXACT if case in cases]
        result = {
            "versions": {name: version(name) for name in ("vllm-cpu", "transformers", "trl", "torch", "peft")},
            "weights_equal": all(case["largest_difference_after_sync"] == 0 for case in exact),
            "max_abs_logprob_difference": max((case["max_abs_logprob_difference"] for case in exact), default=None),
            "greedy_equal": all(len(set(case["greedy"])) == 1 for case in exact),
            "cases": cases,
        }
    if result:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def in_own_process(case: str) -> dict[str, Any]:
    """Measure a case in a new process."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--alone", "--cases", case, "--json", str(file)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=1800)
        print(f"vllm, {case}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if not file.exists():
            return {"error": (result.stdout + result.stderr)[-4000:]}
        measured_case: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return measured_case


def measured(case: str) -> dict[str, Any]:
    """Train one case, evaluate, and return what was seen."""
    if case == "server":
        return measured_with_server(make_trainer)
    keep_weights_in_place()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(case, Path(folder))
        watch = Watch(trainer)
        trainer.train()
        num_syncs, num_prompts = len(watch.after), watch.num_prompts
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
        evaluation = trainer.evaluate()
        trainer.save_model(str(Path(folder) / "final"))
        return {
            "num_updates": len(log),
            "num_syncs": num_syncs,
            "num_syncs_of_evaluation": len(watch.after) - num_syncs,
            "largest_difference_after_sync": max(watch.after),
            "differences_before_later_syncs": watch.before[1:],
            "engine_dtype": str(next(watch.engine.parameters()).dtype).removeprefix("torch."),
            "greedy": [watch.num_same, watch.num_probed],
            "max_abs_logprob_difference": watch.worst_logp,
            "prompts_and_sampled_actions": [num_prompts, sum(entry["sampled_actions"] for entry in log)],
            "prompt_tokens_and_cached": [watch.num_prompt_tokens, watch.num_cached],
            "staleness": [entry["sampling/staleness"] for entry in log],
            "logp_difference": [entry["sampling/sampling_logp_difference/max"] for entry in log],
            "importance_ratio": [
                [entry.get(f"sampling/importance_sampling_ratio/{x}") for x in ("min", "mean", "max")] for entry in log
            ],
            "success_by_vllm": evaluation["eval_success_rate"],
            "success_by_transformers": None
            if case.endswith("lora")
            else by_transformers(trainer, Path(folder) / "final"),
        }


def keep_weights_in_place() -> None:
    """Let vLLM's CPU backend leave weights as they were loaded, where TRL hands over new ones."""
    import vllm._custom_ops
    import vllm.model_executor.layers.utils

    vllm._custom_ops._supports_onednn = False
    vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *_: False


def make_trainer(case: str, folder: Path, length: int = 4) -> Any:
    """Make a trainer in a corridor, or in generated ALFWorld games with the model of the demo."""
    from engines import save_model
    from engines_rank import ADAPTER, SpokenCorridor

    from trl_3spo import ThreeSPOConfig, ThreeSPOTrainer
    from trl_3spo.environments.alfworld import AlfworldEnv
    from trl_3spo.evaluation.policies import load_tokenizer

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "use_vllm": True,
        "vllm_server_base_url": f"http://127.0.0.1:{PORT}",
        "vllm_server_timeout": 1200,
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 1,
        "novelty_weight": 0.3,
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 7,
    }
    model, tasks, env = str(folder / "model"), {}, SpokenCorridor(length=length, max_steps=length + 2)
    if case.startswith("alfworld"):
        model = str(Path(__file__).parents[1] / "examples" / "warm_start" / "alfworld")
        games = {"generated": 60, "seed": 0, "num_receptacles": (4, 8), "num_objects": (4, 10), "max_steps": 20}
        env = AlfworldEnv(**games, prompt_format="action", prompt_style="conversation", shows_admissible_actions=False)
        tasks = {"train_tasks": env.tasks()[4:], "eval_tasks": env.tasks()[:4]}
    elif case != "server":
        save_model(Path(model))
    config = ThreeSPOConfig(**(settings | CASES[case]))
    # An adapter that is not begun at nothing, so that merging it changes the weights from the first hand-over on.
    adapter = ADAPTER.__class__(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    peft_config = adapter if case.endswith("lora") else None
    return ThreeSPOTrainer(model, env, config, processing_class=load_tokenizer(model), peft_config=peft_config, **tasks)


def by_transformers(trainer: Any, folder: Path) -> float:
    """Return the success rate of the saved model on the same panel, generated by transformers in float32."""
    from trl_3spo.evaluation.policies import evaluate_checkpoint

    length = trainer.args.max_completion_length
    return evaluate_checkpoint(str(folder), trainer.env, trainer.eval_tasks, max_completion_length=length).success.rate


class Watch:
    """Looks at a trainer's engine at every hand-over of weights and at every call."""

    def __init__(self, trainer: "ThreeSPOTrainer") -> None:
        self.before: list[float] = []
        self.after: list[float] = []
        self.num_prompts = self.num_prompt_tokens = self.num_cached = 0
        self.num_same = self.num_probed = 0
        self.worst_logp = 0.0
        self._trainer = trainer
        self._generation = trainer.vllm_generation
        self._sync, self._generate = self._generation.sync_weights, self._generation.llm.generate
        self._generation.sync_weights, self._generation.llm.generate = self.sync_weights, self.generate

    @property
    def engine(self) -> Any:
        """vLLM's model."""
        return self._generation.llm.llm_engine.model_executor.driver_worker.model_runner.model

    def generate(self, prompts: Any, **kwargs: Any) -> Any:
        """Generate, and count prompts and tokens."""
        outputs = self._generate(prompts, **kwargs)
        self.num_prompts += len(outputs)
        self.num_prompt_tokens += sum(len(x.prompt_token_ids) for x in outputs)
        self.num_cached += sum(x.num_cached_tokens or 0 for x in outputs)
        return outputs

    def sync_weights(self) -> None:
        """Hand weights over, and compare before and after."""
        self.before.append(self.difference())
        self._sync()
        self.after.append(self.difference())
        self.compare_choices()

    def difference(self) -> float:
        """Return the largest absolute difference of a weight, the trainer's being rounded to the engine's type."""
        import torch

        own = self.policy()
        parts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
        worst = 0.0
        for name, weight in self.engine.named_parameters():
            whole = next((x for x in parts if x in name), None)
            names = [name.replace(whole, x) for x in parts[whole]] if whole else [name]
            wanted = torch.cat([own[x] for x in names]).to(weight.dtype)
            held = weight[: len(wanted)]  # the engine's vocabulary is padded
            worst = max(worst, float((held.float() - wanted.float()).abs().max()))
        return worst

    def policy(self) -> dict[str, Any]:
        """Return the trainer's weights as one plain model's, adapters merged."""
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        if not hasattr(model, "peft_config"):
            return dict(model.state_dict())
        model.merge_adapter()
        merged = {
            name.removeprefix("base_model.model.").replace(".base_layer", ""): weight.clone()
            for name, weight in model.state_dict().items()
            if "lora_" not in name
        }
        model.unmerge_adapter()
        return merged

    def compare_choices(self) -> None:
        """Let both choose greedily from the same prompts, and compare log-probabilities of the engine's tokens."""
        import torch
        from vllm import SamplingParams

        trainer, size = self._trainer, max(self._trainer.args.max_completion_length, 8)
        env, tasks = trainer.env, list(trainer.train_tasks)[:NUM_PROBES]
        prompts = trainer.sampler.chat.prompt_ids([env.prompt(task, env.reset(task), []) for task in tasks])
        params = SamplingParams(temperature=0, max_tokens=size, logprobs=0, stop_token_ids=trainer.eos_token_ids)
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        answers = [x.outputs[0] for x in self._generate(asked, sampling_params=params, use_tqdm=False)]
        model = trainer.accelerator.unwrap_model(trainer.model)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for ids, answer in zip(prompts, answers, strict=True):
                tokens = list(answer.token_ids)
                logps = model(input_ids=torch.tensor([ids + tokens])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
                self.num_same += logps.argmax(-1).tolist() == tokens
                self.num_probed += 1
                gaps = [abs(float(x[t]) - y[t].logprob) for x, t, y in zip(logps, tokens, answer.logprobs, strict=True)]
                self.worst_logp = max(self.worst_logp, *gaps)
        model.train(was_training)


if __name__ == "__main__":
    main()
