"""RegNets against torchvision and the tables of the paper."""

import itertools

import pytest

from jaxcnn import models
from jaxcnn.models import regnet
from tests.blocks import counted

# "num_params" and "GFLOPS" (of multiply-adds, at 224 pixels) on torchvision's cards,
# https://pytorch.org/vision/stable/models/generated/torchvision.models.regnet_x_400mf
TORCHVISION_CARDS = {
    "regnet_x_400mf": (5_495_976, 0.414),
    "regnet_x_800mf": (7_259_656, 0.800),
    "regnet_x_1_6gf": (9_190_136, 1.603),
    "regnet_x_3_2gf": (15_296_552, 3.177),
    "regnet_x_8gf": (39_572_648, 7.995),
    "regnet_x_16gf": (54_278_536, 15.941),
    "regnet_x_32gf": (107_811_560, 31.736),
    "regnet_y_400mf": (4_344_144, 0.402),
    "regnet_y_800mf": (6_432_512, 0.834),
    "regnet_y_1_6gf": (11_202_430, 1.612),
    "regnet_y_3_2gf": (19_436_338, 3.176),
    "regnet_y_8gf": (39_381_472, 8.473),
    "regnet_y_16gf": (83_590_140, 15.912),
    "regnet_y_32gf": (145_046_770, 32.280),
    "regnet_y_128gf": (644_812_894, 127.518),
}

# Depths d_i and widths w_i of the stages in the tables of Radosavovic et al. 2020.
PAPER_STAGES = {
    "regnet_x_800mf": ((1, 3, 7, 5), (64, 128, 288, 672)),
    "regnet_x_3_2gf": ((2, 6, 15, 2), (96, 192, 432, 1008)),
    "regnet_x_8gf": ((2, 5, 15, 1), (80, 240, 720, 1920)),
    "regnet_y_400mf": ((1, 3, 6, 6), (48, 104, 208, 440)),
    "regnet_y_32gf": ((2, 5, 12, 1), (232, 696, 1392, 3712)),
}


@pytest.mark.parametrize("name", TORCHVISION_CARDS)
def test_parameters_and_multiply_adds_are_those_of_torchvision(name):
    num_params, giga_macs = TORCHVISION_CARDS[name]
    parameters, macs = counted(name, 224)
    assert parameters == num_params
    assert round(macs / 1e9, 3) == giga_macs


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER_STAGES)
def test_stages_are_those_of_the_paper(name):
    model = models.create_model(name, num_classes=10)
    params = models.abstract_variables(model, (32, 32, 3))["params"]
    widths = {
        group: params[group]["conv3"]["conv"]["kernel"].shape[-1]
        for group in models.sort_groups(params)[1:-1]
    }
    stages = itertools.groupby(widths, key=lambda group: group.split("_")[0])
    stages = [[widths[group] for group in groups] for _, groups in stages]
    depths, expected = PAPER_STAGES[name]
    assert tuple(map(len, stages)) == depths
    assert stages == [[w] * d for w, d in zip(expected, depths, strict=True)]


def test_the_width_of_a_block_is_the_power_nearest_to_the_line():
    # Equations 2 to 4 for j = 3 of RegNetX-400MF, by hand: the line is at
    # 24 + 3 * 24.48 = 97.44 = 24 * 2.54 ** 1.503, so 24 * 2.54 ** 2 = 154.8, which is
    # 19.4 times 8.
    widths = regnet.block_widths(depth=22, w0=24, wa=24.48, wm=2.54)
    assert widths[3] == 152
    assert widths[0] == 24


def test_the_gate_squeezes_to_a_quarter_of_the_inputs_of_its_block():
    # Section 4, "RegNetY"; torchvision's se_ratio = 0.25 of the block's width_in.
    model = models.create_model("regnet_y_400mf", 10)
    params = models.abstract_variables(model, (32, 32, 3))["params"]
    gate = params["stage2_block1"]["gate"]
    assert gate["fc1"]["kernel"].shape == (1, 1, 104, 48 // 4)
    assert gate["fc2"]["kernel"].shape == (1, 1, 48 // 4, 104)
    model = models.create_model("regnet_x_400mf", 10)
    params = models.abstract_variables(model, (32, 32, 3))["params"]
    assert set(params["stage2_block2"]) == {"conv1", "conv2", "conv3"}


def test_a_stride_that_changes_no_shape_still_has_its_projection():
    # torchvision takes images of 1 pixel; stage 1 of this network has the stem's width.
    model = models.create_model("regnet_x_400mf", 10)
    params = models.abstract_variables(model, (1, 1, 1))["params"]
    assert set(params["stage1_block1"]) == {"conv1", "conv2", "conv3", "proj"}


def test_another_width_is_a_field_away_and_a_wrong_one_is_refused():
    model = models.create_model("regnet_x_400mf", 10, depth=2, wa=0.0)
    groups = ("stem", "stage1_block1", "stage1_block2", "head")
    assert models.layer_groups(model, (32, 32, 3)) == groups
    with pytest.raises(ValueError, match="w0 a multiple of 8.*; depth=22, w0=20"):
        models.create_model("regnet_x_400mf", 10, w0=20)
