"""Pictures are prepared as transformers' own image processors prepare them."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vcm.core.fields import Table
from vcm.detectors.model_files import _ModelFile
from vcm.detectors.preprocessing import Preprocessing, read_preprocessing
from vcm.errors import ConfigError

# As they are published: by the names of the repos whose files these are, without the keys that say nothing here.
PUBLISHED: dict[str, dict[str, Any]] = {
    "google/vit-base-patch16-224": {
        "do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "size": 224,
    },
    "Falconsai/nsfw_image_detection": {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
    },
    "microsoft/resnet-50": {
        "crop_pct": 0.875, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "ConvNextFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 224,
    },
    "facebook/convnext-base-384": {
        "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "image_processor_type": "ConvNextImageProcessor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "size": {"shortest_edge": 384},
    },
    "google/efficientnet-b0": {
        "crop_size": {"height": 289, "width": 289}, "do_center_crop": False, "do_normalize": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "EfficientNetImageProcessor",
        "image_std": [0.47853944, 0.4732864, 0.47434163], "include_top": True, "resample": 0,
        "rescale_factor": 0.00392156862745098, "rescale_offset": False, "size": {"height": 224, "width": 224},
    },
    "facebook/deit-base-distilled-patch16-224": {
        "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "DeiTFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 256,
    },
    "facebook/dinov2-small-imagenet1k-1-layer": {
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "BitImageProcessor", "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256},
    },
    "google/mobilenet_v2_1.0_224": {
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "MobileNetV2ImageProcessor",
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 256},
    },
    "apple/mobilevit-small": {
        "crop_size": 256, "do_center_crop": True, "do_flip_channel_order": True, "do_resize": True,
        "feature_extractor_type": "MobileViTFeatureExtractor", "resample": 2, "size": 288,
    },
    "openai/clip-vit-base-patch32": {
        "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 224,
    },
    "google/siglip-base-patch16-224": {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
    },
    "every default of a ViT": {"image_processor_type": "ViTImageProcessorFast"},
    "every default of a DeiT": {"image_processor_type": "DeiTImageProcessor"},
    "every default of a CLIP": {"image_processor_type": "CLIPImageProcessor"},
    "every default of a ConvNeXT": {"image_processor_type": "ConvNextImageProcessor"},
    "every default of a MobileNet": {"image_processor_type": "MobileNetV1ImageProcessor"},
    "every default of a MobileViT": {"image_processor_type": "MobileViTImageProcessor"},
    "every default of a PVT": {"image_processor_type": "PvtImageProcessor"},
    "every default of a BEiT": {"image_processor_type": "BeitImageProcessor"},
    "every default of a SegFormer": {"image_processor_type": "SegformerImageProcessor"},
    "every default of an EfficientNet": {"image_processor_type": "EfficientNetImageProcessor"},
    "nothing but a crop": {
        "image_processor_type": "CLIPImageProcessor", "do_resize": False, "do_rescale": False, "do_normalize": False,
        "crop_size": {"height": 300, "width": 77},
    },
}  # fmt: skip
SIDES = ["height", "width", "shortest_edge", "longest_edge"]
# Where a processor of transformers lives.
MODULES = {
    "ViT": "vit", "DeiT": "deit", "CLIP": "clip", "ConvNext": "convnext", "EfficientNet": "efficientnet", "Bit": "bit",
    "MobileNetV1": "mobilenet_v1", "MobileNetV2": "mobilenet_v2", "MobileViT": "mobilevit", "Siglip": "siglip",
    "Pvt": "pvt", "Beit": "beit", "Segformer": "segformer",
}  # fmt: skip


def read(config: dict[str, Any]) -> Preprocessing:
    return read_preprocessing(Table(_ModelFile("preprocessor_config.json", ""), (), config))


@cache
def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Slopes, an edge and noise; the same for all, who may not write to it."""
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns) % 256], axis=-1)
    smooth[height // 3 : height // 2] = 255
    made = np.clip(smooth + np.random.default_rng(3).normal(0, 10, smooth.shape), 0, 255).astype(np.uint8)
    made.flags.writeable = False
    return made


def genuine(config: dict[str, Any]) -> Any:
    """The processor of transformers that works with Pillow."""
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or "ViTImageProcessor"
    stem = re.sub("(ImageProcessor(Fast)?|FeatureExtractor)$", "", name)
    module = MODULES[stem]
    try:
        pillow = importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    except ImportError:
        pillow = importlib.import_module(f"transformers.models.{module}.image_processing_{module}")
    kind = getattr(pillow, f"{stem}ImageProcessorPil", None) or getattr(pillow, f"{stem}ImageProcessor")
    return kind.from_dict(config)


@pytest.mark.parametrize("size", [(360, 640), (333, 199), (100, 100)], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_as_transformers_does_it(name: str, size: tuple[int, int]) -> None:
    pytest.importorskip("transformers")
    pixels = picture(*size)
    config = PUBLISHED[name]

    preprocessing = read(config)
    prepared = preprocessing.apply(pixels)

    expected = genuine(config)(images=pixels, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    assert prepared.dtype == np.float32
    assert prepared.flags["C_CONTIGUOUS"]
    assert prepared.shape == expected.shape
    assert preprocessing.output_size in (None, prepared.shape[1:])
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


def test_a_strip_is_cut_to_its_middle_before_it_is_enlarged() -> None:
    prepared = read({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}).apply(picture(2, 100_000))

    assert prepared.shape == (3, 224, 224 * 16)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SIDES), inner, max_size=3),
    max_leaves=6,
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "image_processor_type": st.sampled_from(["ViTImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor"]),
        **{
            name: JSON | st.integers(0, 40) | st.fixed_dictionaries({"height": st.integers(1, 9), "width": st.just(7)})
            for name in ("size", "crop_size")
        },
        **{name: JSON | st.booleans() for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")},
        **dict.fromkeys(("resample", "image_mean", "image_std", "rescale_factor", "crop_pct"), JSON),
    },
)


@given(CONFIGS)
def test_whatever_a_stranger_writes(config: dict[str, Any]) -> None:
    try:
        preprocessing = read(config)
    except ConfigError:
        return
    prepared = preprocessing.apply(picture(8, 12))
    assert prepared.shape[0] == 3
    assert preprocessing.output_size in (None, prepared.shape[1:])
    assert np.isfinite(prepared).all()


WRONG = [
    ({"size": "large"}, 'size: found "large": expected a number of pixels from 1 to 2048'),
    ({"size": 10**9}, "size: found 1000000000: expected a number of pixels from 1 to 2048"),
    ({"size": True}, "size: found true: expected a number of pixels from 1 to 2048"),
    ({"size": 0}, "size: found 0: expected a number of pixels from 1 to 2048"),
    ({"size": [224]}, "size: found an array: expected a number of pixels from 1 to 2048"),
    ({"size": {"longest_edge": 9}}, "size: found a table: expected the keys height and width, or shortest_edge"),
    ({"size": {"height": 9, "width": -9}}, "size: found a table: expected a number of pixels from 1 to 2048"),
    (
        {"do_center_crop": True, "crop_size": {"height": 1.5, "width": 1}},
        "crop_size: found a table: expected a number of pixels from 1 to 2048",
    ),
    ({"resample": 99}, "resample: found 99: 99 is not a valid Resampling"),
    ({"resample": "nearest"}, 'resample: found "nearest": expected the number of one of Pillow\'s filters, 0 to 5'),
    ({"image_std": [0, 1, 1]}, "image_std: found an array: expected three numbers from 0.0001 to 1000"),
    ({"image_std": [float("nan")] * 3}, "image_std: found an array: expected three numbers from 0.0001 to 1000"),
    ({"image_mean": [0.5]}, "image_mean: found an array: expected three numbers from -1000 to 1000"),
    (
        {"image_mean": 10**400},
        "image_mean: found a number of more than 64 bits: expected three numbers from -1000 to 1000",
    ),
    ({"rescale_factor": 0}, "rescale_factor: expected a number from 1e-06 to 1, found 0"),
    ({"do_resize": "yes"}, 'do_resize: expected true or false, found "yes"'),
    (
        {"image_processor_type": "LlavaImageProcessor"},
        (
            'image_processor_type: "LlavaImageProcessor" is none of those that vcm can stand in for: Beit, Bit, CLIP, '
            "ConvNext, DeiT, EfficientNet, MobileNetV1, MobileNetV2, MobileViT, Pvt, Segformer, Siglip, ViT"
        ),
    ),
]


@pytest.mark.parametrize(("config", "message"), WRONG)
def test_what_cannot_be_used(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config)

    assert str(caught.value) == f"preprocessor_config.json: {message}"
    assert caught.value.hint == "choose another model, or another kind of detector for this one"
