"""What keeps the card busy: kernels in groups by their names, and the host's pace beside them."""

import pytest
import torch
from bench_parts import request

from bench.measure import measure
from bench.profiled import OTHER, group_of, grouped, host_pace_seconds

CPU = torch.device("cpu")
NAMES = {
    "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT": "matmul",
    "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_16x16_128x2_tn_align8>": "matmul",
    "void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<...>": "attention",
    "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_31": "attention",
    "fmha_cutlassF_f32_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<...>)": "attention",
    "void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>(float*, ...)": "dequantise",
    "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<..., FusedAdamMathFunctor<float, 4>>": "optimizer",
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<...>>>": "reduce",
    "void at::native::elementwise_kernel<128, 4, ...direct_copy_kernel_cuda...>": "copy",
    "void at::native::vectorized_elementwise_kernel<4, at::native::BinaryFunctor<...MulFunctor<float>>>": "elementwise",
    "void (anonymous namespace)::softmax_warp_forward<float, float, float, 8>": "loss",
    "something_new": OTHER,
}


@pytest.mark.parametrize(("name", "group"), NAMES.items())
def test_a_kernel_is_known_by_its_name(name, group):
    """Of PyTorch, cuBLAS, cuDNN, FlashAttention and bitsandbytes; what nobody knows is told apart."""
    assert group_of(name) == group


def test_counts_and_seconds_add_up():
    """By group, in order."""
    kernels = [("nvjet_a", 0.5), ("nvjet_b", 0.25), ("kQuantizeBlockwise", 0.125)]

    assert grouped(kernels) == {
        "matmul": {"count": 2, "seconds": 0.75},
        "quantise": {"count": 1, "seconds": 0.125},
    }


def test_a_host_has_a_pace():
    """Seconds for a little layer, forward and backward."""
    assert 1e-5 < (host_pace_seconds(CPU) or 0) < 1


def test_a_row_has_its_hosts_pace_and_no_kernels_without_a_card():
    """Even where kernels were asked for; the steps are those that were timed."""
    asked = request(None, micro_batch=1, sequence_length=32, loss="chunked").to_json()
    answer = measure(asked | {"kernels": True}, CPU)

    assert answer["reason"] == ""
    assert answer["host_pace_seconds"] > 0
    assert answer["kernels"] is None
    assert len(answer["step_seconds"]) == 4
