"""Published rows become configs of this project's step, or say why not."""

import shutil

import pytest

from advisor.errors import AdvisorError, ExitCode
from advisor.records import Attention, ByteInterval, Checkpointing, Loop, Precision
from advisor.units import MIB
from bench.accuracy.build import published_folder
from bench.accuracy.others import compare_these
from bench.accuracy.published import read_published

HEADER = (
    "source,role,model,gpu,framework,method,quant,double_quant,dtype,attn,batch,seq,lora_r,targets,grad_ckpt,optim,"
    "peak_alloc_mib,peak_reserved_mib,process_mib,tok_s,note\n"
)
SWEEP = "fitcheck-llm 0.3.1 sdist t4-sweep-2026-09-15.json,calibration,HuggingFaceTB/SmolLM2-135M,Tesla T4,x,"


@pytest.fixture
def folder(tmp_path):
    """A folder with the descriptions of the sources, and no rows."""
    shutil.copy(published_folder() / "sources.toml", tmp_path)
    return tmp_path


def written(folder, *lines):
    """The folder, with those rows."""
    (folder / "rows.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return folder


def test_a_row_becomes_the_config_that_its_source_describes(folder):
    """A 4-bit base without double quantisation is prepared for k-bit training; figures become bytes."""
    line = SWEEP + "qlora,nf4,False,fp16,sdpa,2,512,32,q+k+v+o,True,adamw,1063.5,1194.0,1334.875,2826.7,"
    (row,), left_out = read_published(written(folder, line))

    assert (left_out, row.id, row.gpu.slug, row.model.name) == ([], "rows:2", "t4", "smollm2-135m")
    assert (Precision.NF4_SINGLE, True) == (row.config.precision, row.config.kbit_prepare)
    assert (2, 512, 32) == (row.config.micro_batch, row.config.sequence_length, row.config.lora_rank)
    assert ("q_proj", "k_proj", "v_proj", "o_proj") == row.config.lora_targets
    assert (Attention.SDPA, Loop.BARE) == (row.config.attention, row.config.loop)
    assert Checkpointing.NON_REENTRANT is row.config.checkpointing
    assert (int(1063.5 * MIB), 1194 * MIB) == (row.allocated_bytes, row.reserved_bytes)
    assert ("ok", False, "") == (row.outcome, row.boundary, row.repeats)


def test_an_unquantised_base_keeps_its_dtype_and_is_not_prepared(folder):
    """fp16 as the column says."""
    line = SWEEP + "lora,none,False,fp16,eager,1,4096,32,q+v,True,adamw,1,2,3,4,"
    (row,), _ = read_published(written(folder, line))

    assert (Precision.FP16, False) == (row.config.precision, row.config.kbit_prepare)


def test_a_config_that_was_measured_again_names_the_first(folder):
    """By the line that counts."""
    line = SWEEP + "lora,none,False,fp16,eager,1,4096,32,q+v,True,adamw,1,2,3,4,"
    rows, _ = read_published(written(folder, line, line, line.replace("4096", "2048")))

    assert ["", "rows:2", ""] == [row.repeats for row in rows]


def test_sources_that_can_not_be_modelled_say_why(folder):
    """Known ones by their reason, unknown ones too; none is dropped."""
    litgpt = "litgpt config_hub/finetune/README.md + yaml,published,phi-2,1x A10G,litgpt" + "," * 16
    unknown = "somebody's blog,published,phi-2,1x A10G,?" + "," * 16
    rows, left_out = read_published(written(folder, litgpt, litgpt, unknown))

    assert [] == rows
    assert {"litgpt, config_hub/finetune": 2, "somebody's blog": 1} == {o.source: o.count for o in left_out}
    assert all(out.reason for out in left_out)


@pytest.mark.parametrize(
    "broken",
    [
        SWEEP + "lora,none,False,fp16,eager,many,4096,32,q+v,True,adamw,1,2,3,4,",
        SWEEP + "lora,none,False,fp16,eager,1,4096,32,q+gate,True,adamw,1,2,3,4,",
        SWEEP + "lora,none,False,fp16,eager,1,4096,32,q+v,False,adamw,1,2,3,4,",
        SWEEP.replace("SmolLM2-135M", "SmolLM9") + "lora,none,False,fp16,eager,1,64,32,q,True,adamw,1,2,3,4,",
    ],
)
def test_a_row_that_can_not_be_read_is_named(folder, broken):
    """A bad number, an unknown layer or model, and a column that contradicts the description."""
    with pytest.raises(AdvisorError, match=r"rows:2 can't be read") as raised:
        read_published(written(folder, broken))
    assert ExitCode.ENVIRONMENT is raised.value.exit_code


def test_where_there_are_no_published_rows_it_says_so(tmp_path):
    """As in an installed package."""
    with pytest.raises(AdvisorError, match="no published rows here"):
        read_published(tmp_path)


class Estimating:
    """Stands for an estimator: everything takes a gibibyte."""

    minimum_reserved_bytes = 900 * MIB
    peak_allocated_bytes = ByteInterval(value=800 * MIB, low=790 * MIB, high=810 * MIB)
    peak_reserved_bytes = ByteInterval(value=1000 * MIB, low=990 * MIB, high=1010 * MIB)

    def prepare(self, model, configs, gpu):
        """Nothing to make ready."""

    def simulated(self, model, config, gpu, *, halvings):
        """The same for all."""
        return self

    def largest_block_bytes(self, model, config, gpu):
        """The same for all."""
        return 100 * MIB


def test_the_process_holds_the_segments_and_the_context(folder):
    """The T4's context was measured by the same source: 140.875 MiB."""
    line = SWEEP + "lora,none,False,fp16,eager,1,4096,32,q+v,True,adamw,800,1000,1140.875,4,"
    rows, _ = read_published(written(folder, line))
    (row,) = compare_these(rows, Estimating()).compared

    assert 0 == row.figures["process"].error == row.figures["reserved"].error
    assert row.figures["process"].inside


def test_a_row_that_ran_out_of_memory_is_judged_and_not_scored(folder):
    """It has no figures, and the card's room is what it lacked."""
    line = SWEEP.replace("calibration", "boundary") + (
        "lora,none,False,fp16,eager,1,4096,32,q+v,True,adamw,,,,,OOM on 14912 MiB"
    )
    rows, _ = read_published(written(folder, line))
    found = compare_these(rows, Estimating())

    assert () == found.compared
    assert ("oom", 900 * MIB) == (found.verdicts[0].outcome, found.verdicts[0].minimum_bytes)
    assert 14 * 1024 * MIB < found.verdicts[0].room_bytes < 15 * 1024 * MIB
