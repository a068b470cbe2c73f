"""Views of labelled images: what is random is a function of the seed, and what hides a part hides that much."""

import numpy as np
import pytest
import torch
from PIL import Image

from evonas.data.classification.augment import Views, drawn
from evonas.errors import UserError

OFF = {"scale": (1.0, 1.0), "operations": 0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0}


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(150, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(values)


def view(seed: int, **options: object) -> torch.Tensor:
    with drawn(seed):
        return Views(size=32, resize=32, **{**OFF, **options}).training(picture())  # type: ignore[arg-type]


def test_cutout_hides_a_square_of_its_side() -> None:
    places = set()
    for seed in range(5):
        hidden = (view(seed, cutout=12) == 0).all(dim=0)
        rows, columns = hidden.any(dim=1).nonzero(), hidden.any(dim=0).nonzero()
        assert int(hidden.sum()) == 144 and len(rows) == len(columns) == 12
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) == 5
    assert not (view(0) == 0).any()


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_takes_the_place_of_randaugment(policy: str) -> None:
    plain = [view(seed) for seed in range(6)]
    found = [view(seed, auto_augment=policy, operations=2) for seed in range(6)]
    assert any(not torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    assert torch.equal(found[3], view(3, auto_augment=policy))


@pytest.mark.parametrize(("option", "value"), [("cutout", 32), ("cutout", -1), ("auto_augment", "camvid")])
def test_what_is_unknown_or_too_large_is_the_users_error(option: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{option}={value}"):
        view(0, **{option: value})
