"""Each rule about cards acts on an example and not on another; each has a source, a date and known conditions."""

import json

import pytest
from cli_parts import advisor

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.catalog.traps import CONDITIONS, all_traps, system_here, traps_for
from advisor.plan.lanes import PlanOptions, lanes
from advisor.records import Precision, config_from_json

LLAMA = find_model("llama-3.1-8b")[0]  # 8 key heads for 32 query heads
OLD_LLAMA = find_model("llama-2-7b")[0]  # as many key heads as query heads


def acting(gpu, system="linux", model=LLAMA, reserve=0, **config):
    """Codes of the rules that act."""
    row = {"precision": "nf4", "autocast": "fp16"} | config
    card = find_gpu(gpu)[0]
    found = traps_for(card, config_from_json(row), model, reserve_bytes=reserve, system=system)
    return {trap.code for trap in found}


# code: a case in which the rule acts, and the nearest in which it does not.
CASES = {
    "no-bf16": (("t4", {}), ("rtx-3060-12gb", {})),
    "fp16-loss-scaling": (("t4", {}), ("t4", {"autocast": "bf16"})),
    "math-attention": (("v100-16gb", {}), ("v100-16gb", {"model": OLD_LLAMA})),
    "flash-needs-sm80": (
        ("t4", {"attention": "flash_attention_2"}),
        ("a10", {"attention": "flash_attention_2"}),
    ),
    "int8-needs-sm75": (("v100-16gb", {"precision": "int8"}), ("t4", {"precision": "int8"})),
    "quantised-needs-sm60": (None, ("p100-16gb", {})),
    "wheels-begin-at-sm75": (("p100-16gb", {}), ("t4", {})),
    "display": (("rtx-3090", {}), ("rtx-3090", {"reserve": 10**9})),
    "laptop": (("rtx-4080", {}), ("rtx-3090", {})),
    "windows-spills": (("rtx-3090", {"system": "windows"}), ("rtx-3090", {})),
    "wsl-overhead": (("rtx-3090", {"system": "wsl"}), ("rtx-3090", {"system": "windows"})),
    "wsl-managed-memory": (
        ("rtx-3090", {"system": "wsl", "optimizer": "paged_adamw_8bit"}),
        ("rtx-3090", {"system": "wsl", "optimizer": "adamw_8bit"}),
    ),
    "wsl-pinned-memory": (
        ("rtx-3090", {"system": "wsl", "checkpointing": "offloaded"}),
        ("rtx-3090", {"system": "wsl", "checkpointing": "non-reentrant"}),
    ),
    "expandable-elsewhere": (
        ("rtx-3090", {"system": "wsl", "allocator": "expandable"}),
        ("rtx-3090", {"allocator": "expandable"}),
    ),
    "expandable-on-tegra": (
        ("jetson-agx-orin-64gb", {"allocator": "expandable"}),
        ("gb10", {"allocator": "expandable"}),
    ),
    "unified-memory": (("gb10", {}), ("gb10", {"reserve": 8 * 10**9})),
    "no-nvml-memory": (("gb10", {}), ("b200", {})),
    "bitsandbytes-on-jetson": (("jetson-agx-orin-64gb", {}), ("gb10", {})),
}


def test_every_rule_has_its_cases():
    """No rule is left out here."""
    assert [rule["code"] for rule in all_traps()] == list(CASES)


@pytest.mark.parametrize("code", [code for code, (acts, _) in CASES.items() if acts])
def test_a_rule_acts_where_it_should(code):
    """On the first case of each."""
    card, case = CASES[code][0]

    assert code in acting(card, **case)


@pytest.mark.parametrize("code", CASES)
def test_a_rule_does_not_act_elsewhere(code):
    """On the second, which differs in little."""
    card, case = CASES[code][1]

    assert code not in acting(card, **case)


def test_a_card_below_what_bitsandbytes_knows():
    """The catalog has none, so one is made up: compute capability 5.2."""
    from dataclasses import replace

    card = replace(find_gpu("p100-16gb")[0], name="Tesla M40", compute_capability=(5, 2))
    found = traps_for(card, config_from_json({"precision": "nf4"}), system="linux")

    assert "quantised-needs-sm60" in {trap.code for trap in found}


def test_rules_ask_known_things_and_name_their_sources():
    """An unknown condition would never be met, and nobody would notice."""
    for rule in all_traps():
        assert set(rule) <= {"code", "kind", "text", "fix", "source", "date", *CONDITIONS}
        assert rule["kind"] in {"fails", "memory", "speed", "note"}
        assert len(rule["source"]) > 20
        assert rule["date"].startswith("202")


def test_what_fails_comes_first_and_names_are_filled_in():
    """The card's own name, the laptop's own size."""
    found = traps_for(
        find_gpu("t4")[0],
        config_from_json({"attention": "flash_attention_2", "autocast": "fp16"}),
        LLAMA,
        system="linux",
    )
    laptop = next(t for t in traps_for(find_gpu("rtx-4090")[0], config_from_json({})) if t.code == "laptop")

    assert ("fails", "flash-needs-sm80") == (found[0].kind, found[0].code)
    assert "Tesla T4 is older" in found[0].text
    assert "has 16 GB" in laptop.text


def test_the_kernel_tells_wsl_apart(tmp_path, monkeypatch):
    """/proc/version names Microsoft there."""
    kernel = tmp_path / "version"
    monkeypatch.setattr("advisor.catalog.traps._KERNEL", kernel)
    for text, system in (
        ("Linux version 6.6.87.2-microsoft-standard-WSL2", "wsl"),
        ("Linux version 6.8.0", "linux"),
    ):
        kernel.write_text(text)
        system_here.cache_clear()
        assert system == system_here()
    system_here.cache_clear()


def test_a_precision_that_fails_is_no_way_to_train():
    """A V100 has no LLM.int8, and the reason is the rule's."""
    kept = {
        lane.config.precision: lane.unsupported
        for lane in lanes(find_gpu("v100-16gb")[0], PlanOptions(), find_model("1B")[0])
    }

    assert "7.5" in kept[Precision.INT8]
    assert not kept[Precision.NF4]


def test_plans_and_estimates_tell_them():
    """As text for people, with sources for programs."""

    def said(*words, given=""):
        run = advisor(*words, stdin=given)
        assert 0 == run.returncode, run.stderr
        return run.stdout

    asked = ("plan", "--gpu", "16GB", "--model", "8B")
    seen, plan = said(*asked), json.loads(said(*asked, "--json"))
    row = {name: value for name, value in plan["config"].items() if name != "effective_batch"}
    answer = json.loads(said("estimate", "-", given=json.dumps(row | {"model": "8B", "gpu": "t4"})))

    assert "Watch out" in seen
    assert "counts emulation" in " ".join(seen.split())
    assert {"no-bf16", "math-attention"} <= {trap["code"] for trap in plan["traps"]}
    assert plan["traps"] == answer["traps"]
    assert all("(2026-" in trap["source"] for trap in answer["traps"])
