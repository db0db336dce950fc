"""Models of the real architectures, tiny and of random weights, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WHISPER_SECONDS = 4
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "kill", "you"]
_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_tiny_models(root: Path) -> None:
    """One model for each architecture, in a folder of its name below ``root``."""
    import torch
    import transformers

    torch.manual_seed(5)
    _vit(transformers, root / "vit")
    _bert(transformers, root / "bert")
    _clip(transformers, root / "clip")
    _ast(transformers, root / "ast")
    _whisper(transformers, root / "whisper")
    _wav2vec2(transformers, root / "wav2vec2")
    _llava(transformers, root / "llava")


def _labelled(*labels: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


def _tokenizer(transformers: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **named)


def _vit(transformers: Any, folder: Path) -> None:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = transformers.ViTConfig(**_SMALL, image_size=32, patch_size=16, **_labelled("safe", "nsfw"))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _bert(transformers: Any, folder: Path) -> None:
    sizes = {"vocab_size": len(WORDS), "max_position_embeddings": 16}
    config = transformers.BertConfig(**_SMALL, **sizes, **_labelled("contradiction", "entailment"))
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer(transformers).save_pretrained(folder)


def _clip(transformers: Any, folder: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(
        text_config={**_SMALL, **text, "pad_token_id": 0}, vision_config={**_SMALL, **vision}, projection_dim=8
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    _tokenizer(transformers).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def _ast(transformers: Any, folder: Path) -> None:
    config = transformers.ASTConfig(**_SMALL, max_length=64, num_mel_bins=32, **_labelled("music", "gunshot"))
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)


def _whisper(transformers: Any, folder: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    names = ("endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
    special = [f"<|{name}|>" for name in (*names, "notimestamps")]
    end, start, english, translate, transcribe, _, _, _, plain = special
    letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = transformers.WhisperTokenizer(vocab=letters, merges=[], unk_token=end, bos_token=end, eos_token=end)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(1501)])
    number = dict(zip(special, tokenizer.convert_tokens_to_ids(special), strict=True))
    ends = {"pad_token_id": number[end], "bos_token_id": number[end], "eos_token_id": number[end]}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=WHISPER_SECONDS * 50,
        max_target_positions=32,
        decoder_start_token_id=number[start],
        suppress_tokens=[],
        begin_suppress_tokens=[],
        **ends,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        max_length=12,
        no_timestamps_token_id=number[plain],
        decoder_start_token_id=number[start],
        lang_to_id={english: number[english]},
        task_to_id={"transcribe": number[transcribe], "translate": number[translate]},
        is_multilingual=True,
        language="en",
        task="transcribe",
        alignment_heads=[[0, 0]],
        max_initial_timestamp_index=50,
        # It says letters at random, and nothing but letters.
        suppress_tokens=[code for letter, code in letters.items() if not "a" <= letter <= "z"],
        **ends,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(chunk_length=WHISPER_SECONDS).save_pretrained(folder)


def _llava(transformers: Any, folder: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _tokenizer(transformers)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_SMALL, **tokens, max_position_embeddings=128),
        vision_config=transformers.CLIPVisionConfig(**_SMALL, image_size=32, patch_size=16),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    # It says words at random, and nothing but words.
    model.generation_config.suppress_tokens = [code for code in range(len(tokenizer)) if code not in (4, 5)]
    model.save_pretrained(folder)
    transformers.LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template="{% for part in messages[0].content %}"
        "{% if part.type == 'image' %}<image> {% else %}{{ part.text }}{% endif %}{% endfor %}",
    ).save_pretrained(folder)


def _wav2vec2(transformers: Any, folder: Path) -> None:
    import json

    folder.mkdir()
    letters = {letter: number for number, letter in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh"])}
    (folder / "vocab.json").write_text(json.dumps(letters))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    sizes = {"conv_dim": (16, 16), "conv_stride": (20, 16), "conv_kernel": (25, 20), "num_conv_pos_embeddings": 4}
    groups = {"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "feat_extract_norm": "layer"}
    config = transformers.Wav2Vec2Config(**_SMALL, **sizes, **groups, vocab_size=len(letters), pad_token_id=0)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
