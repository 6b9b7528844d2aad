from __future__ import annotations

import math
from pathlib import Path

import official_unik
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skelkit.models.importers import State, _unik
from skelkit.models.unik import SLSU, UNIK, UNIKConfig
from skelkit.skeletons import get_skeleton


def small(**settings: object) -> UNIK:
    torch.manual_seed(0)
    given = {"skeleton": "jhmdb15", "num_classes": 4, "channels": (8, 16), "dilations": (1, 3), **settings}
    return UNIK(UNIKConfig.model_validate(given))


def test_the_papers_settings_are_the_defaults() -> None:
    config = UNIKConfig(skeleton=get_skeleton("posetics17"), num_classes=31)
    assert config.num_heads == 3
    assert config.window == 1
    assert config.channels == (64,) * 4 + (128,) * 3 + (256,) * 3
    assert config.dilations == (1, 3, 3, 3, 3, 1, 1, 1, 1, 1)
    assert config.kernel == 9
    released = config.released()
    assert released.dilations == (1,) * 10
    assert released.first_heads == 3


def test_dependency_matrices_start_uniform_within_the_bound_of_equation_4() -> None:
    torch.manual_seed(0)
    matrix = SLSU(64, 64, num_joints=25, num_heads=12, window=2).dependency.detach()
    assert matrix.shape == (12, 50, 50)
    bound = math.sqrt(6 / ((1 + math.sqrt(5) ** 2) * 25))
    assert matrix.abs().max() <= bound
    assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert matrix.mean().item() == pytest.approx(0, abs=0.002)


def test_attention_is_equation_5() -> None:
    torch.manual_seed(0)
    unit = SLSU(8, 16, num_joints=5, num_heads=3, window=1)
    torch.nn.init.normal_(unit.embed.weight)
    torch.nn.init.normal_(unit.embed.bias)
    x = torch.randn(7, 2, 5, 8)  # (T, n, V, C)
    found = unit.attention(x)
    assert found.shape == (2, 3, 5, 5)
    theta, phi = unit.embed(x).view(7, 2, 5, 2, 3, 4).unbind(3)
    for head in range(3):
        for n in range(2):
            product = torch.zeros(5, 5)
            for v in range(5):
                for w in range(5):
                    product[v, w] = (theta[:, n, v, head] * phi[:, n, w, head]).sum() / (4 * 7)
            torch.testing.assert_close(found[n, head], torch.softmax(product, dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("heads", "window"), [(1, 1), (3, 1), (6, 1), (3, 3), (12, 5)])
def test_equal_to_the_equations_head_by_head(heads: int, window: int) -> None:
    state = official_unik.random_state(
        joints=13, people=2, channels_in=3, classes=6, heads=heads, window=window, widths=(16, 16, 32)
    )
    x = torch.randn(2, 2, 21, 13, 3)
    with torch.no_grad():
        expected = official_unik.logits(state, x, window=window)
    model = _unik(State(dict(state), Path("x")), get_skeleton("lcr13"), 2).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [2, 6])
def test_even_windows_keep_the_number_of_frames(window: int) -> None:
    model = small(window=window)
    assert model.forward_features(torch.randn(2, 2, 16, 15, 2)).shape == (2, 2, 8, 15, 16)


def test_dilation_reaches_as_far_as_it_says() -> None:
    for dilation, reach in ((1, 4), (3, 12)):
        unit = small(channels=(8,), dilations=(dilation,)).blocks[0].temporal
        x = torch.zeros(41, 1, 15, 8)
        x[20] = 1
        moved = unit(x).detach().abs().sum(dim=(1, 2, 3)).nonzero().flatten()
        assert moved.tolist() == list(range(20 - reach, 20 + reach + 1, dilation))


def test_maps_of_figure_5() -> None:
    model = small().eval()
    found = model.maps(torch.randn(3, 2, 16, 15, 2))
    assert len(found) == 2
    for block, maps in zip(model.blocks, found, strict=True):
        assert torch.equal(maps.learned, block.spatial.dependency)
        assert maps.before is None
        assert maps.attention is not None and maps.attention.shape == (3, 2, 3, 15, 15)
        torch.testing.assert_close(maps.attention.sum(dim=-2), torch.ones(3, 2, 3, 15))
    assert all(maps.attention is None for maps in model.maps())


def test_heads_are_not_worked_off_one_by_one() -> None:
    """The number of operators called does not grow with the number of heads."""

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.calls += 1
            return func(*args, **(kwargs or {}))

    counts = []
    for heads in (2, 12):
        model = small(num_heads=heads).eval()
        with torch.no_grad(), Count() as count:
            model(torch.randn(1, 2, 16, 15, 2))
        counts.append(count.calls)
    assert counts[0] == counts[1]
