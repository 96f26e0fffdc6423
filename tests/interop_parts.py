"""Configs as the tools' own examples have them, and how to read them from text."""

import yaml

from advisor.interop.reading import read_document
from advisor.interop.table import table

TINY = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 32003,
}
TRL = """
model_name_or_path: meta-llama/Llama-3.1-8B
dataset_name: trl-lib/Capybara
dtype: bfloat16
use_peft: true
load_in_4bit: true
use_bnb_nested_quant: true
lora_r: 32
lora_target_modules: all-linear
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
max_length: 2048
packing: true
learning_rate: 2.0e-4
output_dir: out
"""
# As axolotl's examples/llama-3/qlora.yml was in 2024; the flags that later versions call deprecated still mean the same.
AXOLOTL = """
base_model: meta-llama/Llama-3.2-1B
load_in_8bit: false
load_in_4bit: true
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/qlora-out
adapter: qlora
lora_model_dir:
sequence_len: 4096
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: paged_adamw_32bit
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
tf32: false
gradient_checkpointing: true
flash_attention: true
"""
# As LLaMA-Factory's examples/train_qlora/llama3_lora_sft_bnb_npu.yaml.
LLAMA_FACTORY = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
quantization_bit: 4
quantization_method: bnb
double_quantization: false
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
output_dir: saves/llama3-8b/lora/sft
logging_steps: 10
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
"""
EXAMPLES = {"trl": TRL, "axolotl": AXOLOTL, "llama-factory": LLAMA_FACTORY}


def reading(name, text=None, gpu=None, **changed):
    """The example of a format, with some keys changed; None takes a key out."""
    document = yaml.safe_load(text or EXAMPLES[name]) | changed
    kept = {key: value for key, value in document.items() if changed.get(key, "there") is not None}
    return read_document(kept, table(name), f"{name}.yml", gpu=gpu)
