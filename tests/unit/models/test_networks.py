"""What holds for every network of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skelkit.data.choosing import fill_missing
from skelkit.errors import ConfigError
from skelkit.models import MODELS, SkeletonModel, build, configure, cost
from skelkit.models.maps import JointUnit
from skelkit.models.unik import UNIK
from skelkit.skeletons import SKELETONS
from skelkit.structures import Skeleton

SMALL: dict[str, dict[str, Any]] = {
    "unik": {"channels": (8, 16), "dilations": (1, 3)},
    "stgcn": {"channels": (8, 16)},
    "agcn": {"channels": (8, 16)},
    "msg3d": {"channels": (12, 24), "num_scales": 3, "num_g3d_scales": 2},
}
NAMES = sorted(SMALL)


def small(name: str, **settings: Any) -> SkeletonModel:
    torch.manual_seed(0)
    given = {"skeleton": "posetics17", "num_classes": 5, **SMALL[name], **settings}
    return build(name, given)


def clips(model: SkeletonModel, frames: int = 16, batch: int = 2) -> torch.Tensor:
    c = model.config
    g = torch.Generator().manual_seed(1)
    return torch.randn(batch, c.num_people, frames, c.skeleton.num_joints, c.in_channels, generator=g)


def test_every_built_in_network_is_tested_here() -> None:
    assert MODELS.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("skeleton", "people", "frames"),
    [
        ("lcr13", 1, 16),
        ("lsp14", 2, 17),
        ("jhmdb15", 1, 40),
        ("coco17", 2, 16),
        ("openpose18", 2, 33),
        ("ntu25", 1, 300),
    ],
)
def test_forward_and_backward_on_any_joint_set(name: str, skeleton: str, people: int, frames: int) -> None:
    model = small(name, skeleton=skeleton, num_people=people, in_channels=3)
    keypoints = clips(model, frames)
    logits = model(keypoints)
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    functional.cross_entropy(logits, torch.tensor([0, 4])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
    assert model.forward_features(keypoints).shape == (
        2, people, -(-frames // 2), SKELETONS[skeleton].num_joints, model.num_features,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_but_those_before_a_vanishing_norm_learns(name: str) -> None:
    model = small(name)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    functional.cross_entropy(model(clips(model)), torch.tensor([0, 4])).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_clips_do_not_depend_on_each_other(name: str) -> None:
    model = small(name, dropout=0.5).eval()
    keypoints = clips(model, batch=3)
    with torch.no_grad():
        first = model(keypoints)
        assert torch.equal(first, model(keypoints))
        torch.testing.assert_close(first[1:2], model(keypoints[1:2]), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(first[0], first[1])


@pytest.mark.parametrize("name", NAMES)
def test_joints_that_were_filled_in_are_seen(name: str) -> None:
    """A gap filled in as the joint really went gives the result of the whole clip; one of zeros does not."""
    model = small(name, num_people=1).eval()
    t = torch.arange(16.0)[:, None, None]
    keypoints = (clips(model, frames=1, batch=1) + 0.1 * t).expand(-1, -1, 16, -1, -1)
    hidden = torch.zeros(keypoints.shape[:-1], dtype=torch.bool)
    hidden[:, :, 5:9, :6] = True
    found = keypoints.masked_fill(hidden[..., None], float("nan"))[0].numpy()
    seen = ~np.isnan(found[..., 0])
    with torch.no_grad():
        whole = model(keypoints)
        for rule, same in (("interpolate", True), ("zero", False)):
            points, _ = fill_missing(np.nan_to_num(found), seen, rule)
            assert torch.allclose(model(torch.from_numpy(points)[None]), whole, atol=1e-4) == same


@pytest.mark.parametrize("name", NAMES)
def test_frame_wise_head(name: str) -> None:
    model = small(name, head="frame").eval()
    keypoints = clips(model, frames=21)
    keypoints[:, :, 11:] = 0.0
    with torch.no_grad():
        logits = model(keypoints)
    assert logits.shape == (2, 21, 5)
    assert not torch.allclose(logits[:, 0], logits[:, -1], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision(name: str) -> None:
    model = small(name)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips(model))
    functional.cross_entropy(logits.float(), torch.tensor([0, 1])).backward()
    assert torch.isfinite(logits).all()
    assert model.double()(clips(model).double()).dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_to_tell_two_movements_apart(name: str) -> None:
    model = small(name, num_classes=2, num_people=1, **({"block_dropout": 0.0} if name == "stgcn" else {}))
    g = torch.Generator().manual_seed(3)
    keypoints = torch.randn(8, 1, 16, 17, 2, generator=g) * 0.3
    labels = torch.arange(8) % 2
    keypoints[labels == 1, :, :, 9] += torch.sin(torch.arange(16.0))[:, None]  # one wrist waves
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(keypoints), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_wrong_input_is_told(name: str) -> None:
    model = small(name)
    with pytest.raises(ConfigError, match=r"expected keypoints .*M=2.*K=17.*C=2"):
        model(torch.zeros(1, 2, 16, 13, 2))
    with pytest.raises(ConfigError, match="2 people"):
        model(torch.zeros(1, 1, 16, 17, 2))
    with pytest.raises(ConfigError):
        model(torch.zeros(2, 16, 17, 2))


@pytest.mark.parametrize(
    ("name", "skeleton", "channels", "classes", "published"),
    [
        ("unik", "posetics17", 2, 31, 3.45e6),
        ("unik", "posetics17", 2, 15, 3.45e6),
        ("stgcn", "ntu25", 3, 60, 3.10e6),
        ("agcn", "ntu25", 3, 60, 3.47e6),
        ("msg3d", "ntu25", 3, 60, 3.2e6),
    ],
)
def test_published_number_of_parameters(
    name: str, skeleton: str, channels: int, classes: int, published: float
) -> None:
    """Of one stream; two streams have twice as many.

    UNIK: table 4 of the paper, for Smarthome and Penn Action (17 joints, 2-D). The others for NTU 60 (25
    joints, 3-D, 60 classes): ST-GCN 3.1 M and 2s-AGCN 3,472,176 as the metafiles of mmaction2 have them
    (configs/skeleton/stgcn/metafile.yml of 1.x, configs/skeleton/2s-agcn/metafile.yml of 0.x), MS-G3D 3.2 M
    from memory of its paper (no copy was at hand).
    """
    model = build(name, {"skeleton": skeleton, "in_channels": channels, "num_classes": classes})
    assert cost(model, frames=16).parameters == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(("classes", "published"), [(31, 7967), (15, 3855)])
def test_linear_classifier_of_table_4(classes: int, published: int) -> None:
    model = build("unik", {"skeleton": "posetics17", "num_classes": classes})
    assert sum(p.numel() for p in model.classifier.parameters()) == published


def test_cost_counts_the_operations_by_hand() -> None:
    model = small("unik", channels=(8,), dilations=(1,), num_people=1)
    frames, joints, heads = 10, 17, 3
    per_joint = 2 * 2 * 2 * heads  # embeddings: 2 channels in, 2 heads x 2 channels out
    per_joint += 2 * joints * heads  # attention product, 2 channels each
    per_joint += heads * joints * 2  # mixing of joints
    per_joint += heads * 2 * 8 + 2 * 8 + 9 * 8 * 8  # projection, residual, time
    # A product of embeddings that counts one addition and one multiplication per term:
    expected = 2 * (per_joint * frames * joints + 8 * 5)
    assert cost(model, frames=frames).gflops * 1e9 == pytest.approx(expected, rel=1e-6)
    assert model.training


def test_settings_are_checked_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        configure("unik", {"skeleton": "coco71", "num_classes": 0, "nun_heads": 3, "kernel": 4})
    assert len(caught.value.fields["problems"]) == 4
    assert "num_heads" in caught.value.message
    assert "coco71" in caught.value.message
    with pytest.raises(ConfigError, match="unik"):
        build("unic", {"skeleton": "coco17", "num_classes": 2})
    with pytest.raises(ConfigError, match="as many dilations"):
        configure("unik", {"skeleton": "coco17", "num_classes": 2, "channels": (64, 64)})


def test_settings_survive_json() -> None:
    config = small("unik").config
    assert configure("unik", config.model_dump(mode="json")) == config
    assert type(config).model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", ["agcn", "msg3d", "stgcn"])
def test_graph_networks_need_bones_but_not_one_body(name: str) -> None:
    joints = ("neck", "a", "b", "c")
    with pytest.raises(ConfigError, match="bones"):
        small(name, skeleton=Skeleton(name="dots", joints=joints))
    torn = Skeleton(name="torn", joints=joints, edges=(("neck", "a"), ("b", "c")))
    assert small(name, skeleton=torn)(torch.randn(2, 2, 16, 4, 2)).shape == (2, 5)
    assert small("unik", skeleton=Skeleton(name="dots", joints=joints))(
        torch.randn(2, 2, 16, 4, 2)
    ).shape == (2, 5)


@pytest.mark.parametrize("name", ["agcn", "stgcn"])
def test_centre_can_be_named(name: str) -> None:
    chain = Skeleton(name="chain", joints=("a", "b", "c"), edges=(("a", "b"), ("b", "c")))
    with pytest.raises(ConfigError, match="center"):
        small(name, skeleton=chain)
    assert small(name, skeleton=chain, center="b")(torch.randn(2, 2, 16, 3, 2)).shape == (2, 5)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_shows_which_joints_enter_which(name: str) -> None:
    model = small(name).eval()
    found = model.maps(clips(model))
    assert [maps.name for maps in found][:1] == (
        ["Block 1"] if name != "msg3d" else ["Block 1, single frames"]
    )
    assert len({maps.name for maps in found}) == len(found) == (6 if name == "msg3d" else 2)
    for maps in found:
        assert maps.learned.shape[1] == maps.learned.shape[2]
        assert maps.learned.shape[1] % 17 == 0
        if maps.before is not None:  # nothing has been learnt yet
            torch.testing.assert_close(maps.learned, maps.before, atol=1e-5, rtol=0)
        if maps.attention is not None:
            assert maps.attention.shape == (2, 2, *maps.learned.shape)
    assert (found[0].attention is not None) == (name in {"unik", "agcn"})
    assert (found[0].before is None) == (name == "unik")


@pytest.mark.parametrize("name", NAMES)
def test_maps_say_from_which_joint_to_which(name: str) -> None:
    """Change the weight from one joint to another: in the first unit, only the other's features move."""
    model = small(name, num_people=1).eval()
    unit = next(m for m in model.modules() if isinstance(m, JointUnit))
    outputs: list[torch.Tensor] = []
    unit.register_forward_hook(lambda module, inputs, out: outputs.append(out.detach()))
    before = model.maps()[0].learned.clone()
    own = {"unik": "dependency", "agcn": "learned", "stgcn": "importance", "msg3d": "mask"}[name]
    source, target = next((v, w) for v, w in before[1].nonzero().tolist() if v != w)
    if isinstance(model, UNIK):
        nn.init.ones_(unit.norm.weight)  # it begins as good as switched off
    for change in (5.0, -5.0):
        with torch.no_grad():
            at = (1, target, source) if name == "msg3d" else (1, source, target)
            getattr(unit, own)[at] += change
        if change > 0:
            assert (model.maps()[0].learned - before).nonzero().tolist() == [[1, source, target]]
        model(clips(model))
    changed = (outputs[-2] - outputs[-1]).abs()
    joints = changed.amax(dim=(0, 1, 3) if name == "unik" else (0, 1, 2)).nonzero().flatten().tolist()
    assert joints == [target]
