"""Every number of a card has a source, and a name or a size means one card or a clear error."""

import re
import tomllib
from dataclasses import fields

import pytest

from advisor.catalog import gpu_table
from advisor.catalog.classes import gpu_rule
from advisor.catalog.gpu_table import confidence
from advisor.catalog.gpus import all_gpus, find_gpu, gpu_by_device_name, usable_bytes
from advisor.catalog.names import key
from advisor.errors import AdvisorError
from advisor.records import GpuSpec
from advisor.units import GIB, MIB

CARDS = 61
PLAIN = {"slug", "aliases", "vendor", "sources"}  # names, not facts of a card
FACTS = {field.name for field in fields(GpuSpec)} - PLAIN
SOURCE = re.compile(r".{10,} \(2026-11-2[34], confidence (high|medium|low)\)", re.DOTALL)
BY_SLUG = {gpu.slug: gpu for gpu in all_gpus()}
# Cards by the size on the box that the notes of the project and its users name.
NAMED = [
    "p100-16gb",
    "v100-16gb",
    "t4",
    "rtx-2080-ti",
    "titan-rtx",
    "a100-40gb-sxm",
    "a100-80gb-sxm",
    "a30",
    "a10",
    "a10g",
    "a40",
    "rtx-a6000",
    "rtx-3060-12gb",
    "rtx-3090",
    "l4",
    "l40",
    "l40s",
    "rtx-6000-ada",
    "rtx-4060-ti-16gb",
    "rtx-4090",
    "h100-80gb-sxm",
    "h100-80gb-pcie",
    "h100-nvl",
    "h200",
    "b200",
    "b300",
    "rtx-5080",
    "rtx-5090",
    "rtx-pro-6000-blackwell",
    "gb10",
    "jetson-agx-orin-64gb",
    "mi250x",
    "mi300x",
    "mi325x",
]
# What a bare size stands for; a change here changes plans.
STANDS_FOR = {
    "8GB": "rtx-4060-ti-8gb",
    "10GB": "rtx-3080-10gb",
    "11GB": "rtx-2080-ti",
    "12GB": "rtx-4070",
    "16GB": "t4",
    "24GB": "a10g",
    "32GB": "rtx-5090",
    "40GB": "a100-40gb-pcie",
    "48GB": "l40s",
    "80GB": "h100-80gb-pcie",
    "94GB": "h100-nvl",
    "96GB": "rtx-pro-6000-blackwell",
    "141GB": "h200",
    "180GB": "b200",
    "288GB": "b300",
}
every_card = pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.slug)


def test_the_catalog_has_the_cards_that_people_name():
    """A card that falls out of the file is missed here."""
    assert len(all_gpus()) == len(BY_SLUG) == CARDS
    assert len(NAMED) == 34
    assert set(NAMED) <= set(BY_SLUG)


@every_card
def test_every_fact_has_a_source_a_date_and_a_confidence(gpu):
    """No number stands alone."""
    assert len(FACTS) == 13
    assert set(gpu.sources) == FACTS
    assert all(SOURCE.fullmatch(text) for text in gpu.sources.values())


def test_every_source_of_the_file_is_used():
    """A text that nothing refers to is dropped."""
    told = {text for gpu in all_gpus() for text in gpu.sources.values()}
    document = tomllib.loads(gpu_table._FILE.read_text(encoding="utf-8"))
    texts = [source["text"] for source in document["sources"].values()]

    assert len(texts) == 17
    assert [text for text in texts if not any(full.startswith(text) for full in told)] == []


@every_card
def test_sizes_are_bytes_and_plausible(gpu):
    """GB for GiB, or MiB for bytes, would show."""
    # ECC without its own chips keeps a sixteenth, and the driver some hundred MiB: the A10 and the T4 lose most.
    assert 0.91 <= gpu.memory_bytes / (gpu.class_gb * GIB) < 1.0
    assert gpu.memory_bytes % 4096 == 0
    assert gpu.board_bytes == 0 or gpu.memory_bytes <= gpu.board_bytes <= gpu.class_gb * GIB
    assert 100 * MIB < gpu.context_bytes < 1.5 * GIB
    assert 0 < gpu.context_uncertainty_bytes <= gpu.context_bytes
    assert 200e9 <= gpu.bandwidth_bytes_per_second <= 8e12
    assert 9e12 <= gpu.matmul_flops_per_second <= 2.5e15
    assert 8 <= gpu.multiprocessors <= 304


@every_card
def test_bf16_is_native_from_compute_capability_8_on(gpu):
    """The flag and the architecture agree; AMD's numbers are not CUDA's."""
    assert gpu.vendor in {"nvidia", "amd"}
    assert gpu.bf16 == (gpu.vendor == "amd" or gpu.compute_capability >= (8, 0))


@every_card
def test_the_cublas_workspace_is_that_of_the_architecture(gpu):
    """32 MiB on Hopper and on Blackwell of major 10 and 12, 8.1 MiB before."""
    large = {"amd": {(9, 0)}, "nvidia": {(9, 0), (10, 0), (10, 3), (12, 0), (12, 1)}}
    expected = 32 * MIB if gpu.compute_capability in large[gpu.vendor] else 8_519_680
    if gpu.vendor == "amd" and gpu.compute_capability == (9, 4):
        expected = 128 * MIB

    assert expected == gpu.cublas_workspace_bytes


def test_torch_sees_less_than_nvml_and_the_driver_keeps_the_rest():
    """An idle T4 shows 469041152 bytes as used: what NVML counts and torch does not."""
    assert BY_SLUG["t4"].driver_bytes == 469_041_152
    assert BY_SLUG["mi300x"].driver_bytes == 0


def test_a_measured_h200_agrees():
    """NVML's figure less reserved was 1.35 GiB: the context and what the driver keeps."""
    h200 = BY_SLUG["h200"]

    assert pytest.approx(1.35, abs=0.01) == (h200.context_bytes + h200.driver_bytes) / GIB
    assert confidence(h200, "context_bytes") == "high"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("t4", "t4"),
        ("T4", "t4"),
        ("Tesla T4", "t4"),
        ("nvidia t4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("GeForce RTX 4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("rtx_4090", "rtx-4090"),
        ("RTX4090", "rtx-4090"),
        ("H200", "h200"),
        ("L40S", "l40s"),
        ("l40", "l40"),
        ("l4", "l4"),
        ("RTX A4000", "rtx-a4000"),
        ("RTX 4060 Ti 16GB", "rtx-4060-ti-16gb"),
        ("A100-SXM4-80GB", "a100-80gb-sxm"),
        ("MI300X", "mi300x"),
    ],
)
def test_a_name_means_its_card_and_nothing_is_assumed(text, slug):
    """Spaces, dashes, capitals and the maker's brands make no difference."""
    assert (BY_SLUG[slug], []) == find_gpu(text)


@every_card
def test_each_card_is_found_by_its_catalog_name_and_by_its_drivers(gpu):
    """The driver's name is what a program on the card sees."""
    assert (gpu, []) == find_gpu(gpu.slug)
    assert gpu is gpu_by_device_name(gpu.name, gpu.memory_bytes)
    assert gpu.name == find_gpu(gpu.name)[0].name


def test_catalog_names_are_lower_case_and_apart():
    """Two cards never share a catalog name, however it is spelt."""
    assert len({key(gpu.slug) for gpu in all_gpus()}) == CARDS
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", gpu.slug) for gpu in all_gpus())


@pytest.mark.parametrize(
    ("text", "slug", "others"),
    [
        ("A100", "a100-40gb-pcie", 4),
        ("H100", "h100-80gb-pcie", 2),
        ("V100", "v100-16gb", 4),
        ("NVIDIA GeForce RTX 4060 Ti", "rtx-4060-ti-8gb", 2),
    ],
)
def test_a_name_of_several_cards_means_the_least_and_says_so(text, slug, others):
    """A guess is printed, and errs on the safe side."""
    gpu, (said,) = find_gpu(text)

    assert slug == gpu.slug
    assert said.startswith(
        f'"{text}" stands for {slug}, the least usable memory of the {others} cards of that name'
    )


@pytest.mark.parametrize("size", STANDS_FOR)
def test_a_size_stands_for_the_least_usable_card_of_it(size):
    """What fits it fits every card of the size that bitsandbytes supports."""
    gpu, (said,) = find_gpu(size)
    allowed = [other for other in all_gpus() if other.class_gb == gpu.class_gb and gpu_rule().lets_in(other)]

    assert STANDS_FOR[size] == gpu.slug
    assert int(size.removesuffix("GB")) == gpu.class_gb
    assert allowed
    assert min(map(usable_bytes, allowed)) == usable_bytes(gpu)
    assert said.startswith(f'"{size}" stands for {gpu.name}')


def test_every_size_that_can_stand_for_a_card_is_listed_above():
    """A new class shows here."""
    sizes = {f"{gpu.class_gb}GB" for gpu in all_gpus() if gpu_rule().lets_in(gpu)}

    assert set(STANDS_FOR) == sizes
    assert len(sizes) == 15


def test_16_gb_means_the_t4():
    """The words that the user reads."""
    said = '"16GB" stands for Tesla T4, the least usable memory of the 9 cards of that class: 14.39 GiB'

    assert (BY_SLUG["t4"], [said]) == find_gpu("16GB")
    assert [BY_SLUG["t4"]] * 4 == [find_gpu(text)[0] for text in ("16 GB", "16gib", "16 g", "16_gb")]


def test_old_unified_foreign_and_guessed_cards_stand_for_no_size():
    """bitsandbytes needs 7.5; a board that shares its memory has no size of its own; a guess is no ground."""
    outside = [gpu for gpu in all_gpus() if not gpu_rule().lets_in(gpu)]

    assert len(outside) == 14
    for gpu in outside:
        low = confidence(gpu, "memory_bytes") == "low"
        assert gpu.compute_capability < (7, 5) or gpu.unified or gpu.vendor == "amd" or low


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("18GB", "nearest sizes: 16GB (t4), 24GB (a10g)"),
        ("14.5GB", "nearest sizes: 12GB (rtx-4070), 16GB (t4)"),
        ("1GB", "nearest sizes: 8GB (rtx-4060-ti-8gb)"),
        ("9999GB", "nearest sizes: 288GB (b300)"),
        ("128GB", "nearest sizes: 96GB (rtx-pro-6000-blackwell), 141GB (h200); gb10 must be named"),
    ],
)
def test_a_size_without_a_card_names_its_neighbours(text, near):
    """The next smaller one and the next larger one, with a card each."""
    with pytest.raises(AdvisorError) as caught:
        find_gpu(text)

    assert f"No card of the catalog stands for '{text}'." == caught.value.what
    assert caught.value.why.startswith(near)
    assert "advisor show gpus" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "near"),
    [("rtx-4091", "rtx-4090"), ("h2000", "h200"), ("GTX 4090", "rtx-4090"), ("a10gg", "a10g")],
)
def test_an_unknown_name_gets_the_nearest(text, near):
    """A slip of the keyboard is answered with what was meant."""
    with pytest.raises(AdvisorError) as caught:
        find_gpu(text)

    assert f"Unknown GPU {text!r}." == caught.value.what
    assert near in caught.value.why.removeprefix("nearest known: ").split(", ")
    assert "advisor show gpus" in caught.value.fix


@pytest.mark.parametrize("text", ["", "  ", None, 16, ["t4"], "x" * 10_000])
def test_what_is_no_name_is_refused_in_a_line(text):
    """A row of JSON can hold anything."""
    with pytest.raises(AdvisorError) as caught:
        find_gpu(text)

    assert "is not the name of a card" in caught.value.what
    assert len(caught.value.what) < 120


def test_a_card_that_the_catalog_lacks_is_none_and_one_of_two_sizes_the_nearest():
    """The caller has the facts of the card that is present; it asks for the rest."""
    name = "NVIDIA GeForce RTX 4060 Ti"

    assert gpu_by_device_name("NVIDIA Imaginary 1") is None
    assert BY_SLUG["rtx-4060-ti-16gb"] == gpu_by_device_name(name, 16 * GIB)
    assert BY_SLUG["rtx-4060-ti-8gb"] == gpu_by_device_name(name)
