"""One run of trl's SFTTrainer as it comes, in a process of its own; `bench/worker.py` has the protocol.

Written as its users write it. Not trl's: the weights are random, put on the card by the runner's loader (quantised by
bitsandbytes as transformers does it); the run is cut after a few steps, saves nothing, and a callback reads the meter.
"""

from typing import Any

from bench.worker import serve


def stock_trainer(facts: dict[str, Any], config: Any, steps: int, meter: Any, folder: str) -> Any:
    """An SFTTrainer with the defaults of its SFTConfig; of `config`, what a user must choose is read, and no more."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from advisor.records import Method
    from advisor.step.data import random_blocks
    from advisor.step.load import load_model
    from advisor.step.observe import Phase
    from advisor.step.session import blank_tokenizer
    from advisor.step.weights import Shaped, random_weights

    meter.mark(Phase.LOAD)
    model = load_model(Shaped(facts, random_weights(for_card=meter.on_cuda)), config, meter.device, meter)
    meter.mark(Phase.PREPARE)
    rows, length = config.effective_batch * steps, config.sequence_length
    vocab = int(facts.get("vocab_size") or facts["text_config"]["vocab_size"])
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        target_modules=config.lora_targets,
        task_type="CAUSAL_LM",
    )
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=folder,
            max_length=length,
            per_device_train_batch_size=config.micro_batch,
            gradient_accumulation_steps=config.accumulation_steps,
            max_steps=steps,
            save_strategy="no",
            report_to="none",
            use_cpu=not meter.on_cuda,  # else it refuses bf16 there
        ),
        train_dataset=random_blocks(rows=rows, sequence_length=length, vocab=vocab),
        processing_class=blank_tokenizer(),
        peft_config=lora if config.method is Method.LORA else None,
        callbacks=[_metered(meter)],
    )


def _metered(meter: Any) -> Any:
    """Steps as the runner's are timed: from the first forward pass to the end of the optimizer's step."""
    from transformers import TrainerCallback

    from advisor.step.observe import Phase

    class Metered(TrainerCallback):
        """Tells the meter."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            meter.mark(Phase.FORWARD)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step_ended()

    return Metered()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from advisor.train.card import choose_device
    from bench.measure import measure

    return measure(request, choose_device(), make=stock_trainer)


if __name__ == "__main__":
    serve(_answer)
