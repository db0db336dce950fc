"""A picture as an image classifier of the Hub wants it: what its ``preprocessor_config.json`` says, done with Pillow.

The steps, their order and their defaults are those of transformers' image processors
(https://huggingface.co/docs/transformers/main_classes/image_processor): resize, crop the middle, rescale, normalise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vcm.core.fields import Table
from vcm.core.records import record

PREPROCESSOR_CONFIG = "preprocessor_config.json"

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_LARGEST_SIDE = 2048  # pixels
_LONGEST_STRIP = 16  # times its width
# ConvNeXT crops what is smaller than this: timm's rule for its weights.
_CROPPED_BELOW = 384


@record(frozen=True)
class _Size:
    """What a picture is resized to: a height and a width, or its shorter side, the other in proportion."""

    height: int
    width: int
    shortest: bool

    @property
    def pair(self) -> tuple[int, int]:
        return self.height, self.width


def _square(side: int) -> _Size:
    return _Size(height=side, width=side, shortest=False)


def _shortest(side: int) -> _Size:
    return _Size(height=side, width=side, shortest=True)


@record(frozen=True)
class _Defaults:
    """What an image processor does where the file does not say."""

    size: _Size
    resample: Image.Resampling = Image.Resampling.BICUBIC
    crop: int | None = None
    mean_and_std: tuple[tuple[float, ...], tuple[float, ...]] | None = _HALF


_PROCESSORS: Mapping[str, _Defaults] = {
    "Beit": _Defaults(_square(224)),
    "Bit": _Defaults(_shortest(224), crop=224, mean_and_std=_CLIP),
    "CLIP": _Defaults(_shortest(224), crop=224, mean_and_std=_CLIP),
    "ConvNext": _Defaults(_shortest(384)),
    "DeiT": _Defaults(_square(256), crop=224),
    "EfficientNet": _Defaults(_square(346)),
    "MobileNetV1": _Defaults(_shortest(256), Image.Resampling.BILINEAR, crop=224),
    "MobileNetV2": _Defaults(_shortest(256), Image.Resampling.BILINEAR, crop=224),
    "MobileViT": _Defaults(_shortest(224), crop=256, mean_and_std=None),
    "Pvt": _Defaults(_square(224), mean_and_std=_IMAGENET),
    "Segformer": _Defaults(_square(512), Image.Resampling.BILINEAR, mean_and_std=_IMAGENET),
    "Siglip": _Defaults(_square(224)),
    "ViT": _Defaults(_square(224), Image.Resampling.BILINEAR),
}
_ALIASES = {"BeiT": "Beit", "ViTHybrid": "Bit", "ConvNeXT": "ConvNext"}


@record(frozen=True)
class Preprocessing:
    """What is done to a picture before a classifier sees it.

    Attributes:
        resize: to what; None for not at all.
        resample: Pillow's filter for it.
        crop: height and width of the middle that is kept; None for all of it.
        factor: 0 to 255 is multiplied by it, for each channel.
        offset: and this is added.
        reverse: blue, green, red instead of red, green, blue.
    """

    resize: _Size | None
    resample: Image.Resampling
    crop: tuple[int, int] | None
    factor: NDArray[np.float32]
    offset: NDArray[np.float32]
    reverse: bool

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of every prepared picture; None where they differ from picture to picture."""
        if self.crop:
            return self.crop
        return self.resize.pair if self.resize and not self.resize.shortest else None

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A picture (height x width x 3, 0 to 255) as the classifier wants it: 3 x height x width."""
        if self.resize:
            pixels = self._resized(pixels, self.resize)
        if self.crop:
            pixels = _middle(pixels, *self.crop)
        prepared = pixels.astype(np.float32) * self.factor + self.offset
        return np.ascontiguousarray((prepared[..., ::-1] if self.reverse else prepared).transpose(2, 0, 1))

    def _resized(self, pixels: NDArray[np.uint8], size: _Size) -> NDArray[np.uint8]:
        height, width = size.pair
        if size.shortest:
            # The middle of a strip is enough: all of it, enlarged in proportion, could fill the memory.
            most = _LONGEST_STRIP * min(pixels.shape[:2])
            pixels = _middle(pixels, min(pixels.shape[0], most), min(pixels.shape[1], most))
            short, long = sorted(pixels.shape[:2])
            longer = int(size.height * long / short)
            height, width = (longer, size.height) if pixels.shape[1] <= pixels.shape[0] else (size.height, longer)
        return np.asarray(Image.fromarray(pixels).resize((width, height), self.resample))


def read_preprocessing(table: Table) -> Preprocessing:
    """What ``preprocessor_config.json`` says; keys that have to do with something else are passed over.

    Raises:
        ConfigError: a value cannot be used, or the image processor is none that is known here.
    """
    kind = _processor(table)
    defaults = _PROCESSORS[kind]
    resize = None
    if table.boolean("do_resize", missing=True):
        resize = table.parsed("size", lambda value: _size(value, shortest=defaults.size.shortest)) or defaults.size
    crop = None
    if table.boolean("do_center_crop", missing=defaults.crop is not None):
        crop = table.parsed("crop_size", _crop) or (defaults.crop or 224,) * 2
    if kind == "ConvNext" and resize:
        resize, crop = _convnext(table, resize.height)
    mean, std = _mean_and_std(table, defaults)
    scale = 1.0
    if table.boolean("do_rescale", missing=True):
        scale = table.number("rescale_factor", least=1e-6, most=1) or 1 / 255
    # (scale * pixel - shift - mean) / std, as one multiplication and one addition.
    factor, offset = scale / std, -mean / std
    if kind == "EfficientNet":
        if table.boolean("rescale_offset"):
            offset = offset - 1 / std
        if table.boolean("include_top", missing=True):
            factor, offset = factor / std, offset / std
    resample = table.parsed("resample", _resampling)
    return Preprocessing(
        resize=resize,
        resample=defaults.resample if resample is None else resample,
        crop=crop,
        factor=factor.astype(np.float32),
        offset=offset.astype(np.float32),
        reverse=kind == "MobileViT" and table.boolean("do_flip_channel_order", missing=True),
    )


def _processor(table: Table) -> str:
    name = table.text("image_processor_type") or table.text("feature_extractor_type") or "ViTImageProcessor"
    kind = re.sub(r"(?:ImageProcessor(?:Fast|Pil)?|FeatureExtractor)$", "", name)
    kind = _ALIASES.get(kind, kind)
    if kind not in _PROCESSORS:
        known = ", ".join(_PROCESSORS)
        raise table.error("image_processor_type", f'"{name}" is none of those that vcm can stand in for: {known}')
    return kind


def _convnext(table: Table, side: int) -> tuple[_Size, tuple[int, int] | None]:
    if side >= _CROPPED_BELOW:
        return _square(side), None
    part = table.number("crop_pct", least=0.1, most=1) or 224 / 256
    return _shortest(int(side / part)), (side, side)


def _mean_and_std(table: Table, defaults: _Defaults) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not table.boolean("do_normalize", missing=defaults.mean_and_std is not None):
        return np.zeros(3), np.ones(3)
    mean, std = defaults.mean_and_std or _HALF
    return (
        np.array(table.parsed("image_mean", lambda value: _channels(value, -1000, 1000)) or mean),
        np.array(table.parsed("image_std", lambda value: _channels(value, 1e-4, 1000)) or std),
    )


def _channels(value: Any, least: float, most: float) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or not all(type(each) in (int, float) and least <= each <= most for each in values):  # noqa: PLR2004
        raise ValueError(f"expected three numbers from {least:g} to {most:g}")
    return tuple(map(float, values))


def _size(value: object, *, shortest: bool) -> _Size:
    if isinstance(value, dict) and value.keys() == {"shortest_edge"}:
        return _shortest(_side(value["shortest_edge"]))
    if isinstance(value, dict) and value.keys() == {"height", "width"}:
        return _Size(height=_side(value["height"]), width=_side(value["width"]), shortest=False)
    if isinstance(value, dict):
        raise ValueError("expected the keys height and width, or shortest_edge")  # noqa: TRY004
    return _Size(height=_side(value), width=_side(value), shortest=shortest)


def _crop(value: object) -> tuple[int, int]:
    return _size(value, shortest=False).pair


def _side(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST_SIDE:
        raise ValueError(f"expected a number of pixels from 1 to {_LARGEST_SIDE}")
    return value


def _resampling(value: object) -> Image.Resampling:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("expected the number of one of Pillow's filters, 0 to 5")  # noqa: TRY004
    return Image.Resampling(value)


def _middle(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The middle of a picture, with black around it where the picture is smaller."""
    above, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    kept = pixels[max(above, 0) : max(above, 0) + height, max(left, 0) : max(left, 0) + width]
    if kept.shape[:2] == (height, width):
        return kept
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[max(-above, 0) :, max(-left, 0) :][: kept.shape[0], : kept.shape[1]] = kept
    return canvas
