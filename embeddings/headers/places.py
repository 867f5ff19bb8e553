"""Where in the metadata of model files trainers, mergers and platforms write whom a model shows.

Keys as they stand in public code, by the place that a name in them is reported at. What is not listed here is searched
too, as ``other``. Knows no file and no names.
"""

from __future__ import annotations

from typing import Final

PLAIN: Final = (
    *("ss_output_name", "modelspec.title", "modelspec.trigger_phrase", "modelspec.tags"),
    *("ss_training_comment", "modelspec.description", "modelspec.usage_hint", "modelspec.merged_from"),
    *("ssmd_display_name", "ssmd_keywords", "ssmd_tags", "ssmd_description"),
    *("title", "trigger_phrase", "trigger_word", "trained_words", "instance_prompt", "name", "description"),
    *("ss_sd_model_name", "ss_base_model_name", "base_model"),
    *("general.name", "general.basename", "general.finetune", "general.tags", "general.description"),
)
"""Keys whose value is a text as it stands, or JSON all of whose texts count."""
MERGES: Final = ("sd_merge_models", "sd_merge_recipe")
"""Keys with JSON that says of which models one was made."""
CONFIGURED: Final = ("ss_datasets", "ot_config", "config", "lora_adapter_metadata", "training_info", "training_config")
"""Keys with JSON of a trainer's settings, of which :data:`TELLING` says what a model was trained on."""
TELLING: Final = frozenset(
    (
        *("class_tokens", "caption_prefix", "caption_suffix", "instance_prompt", "trigger", "trigger_word"),
        *("trained_words", "concept_name", "name", "token", "initializer_token", "placeholder_token"),
    )
)
"""Names of settings with words for what a model shows."""
FOLDERS: Final = frozenset(
    (
        *("image_dir", "image_directory", "video_directory", "image_jsonl_file", "video_jsonl_file", "metadata_file"),
        *("folder_path", "dataset_path", "instance_data_dir", "train_data_dir", "path", "data_dir", "cache_directory"),
        *("output_name", "output_model_destination", "model_output_name", "lora_name"),
    )
)
"""Names of settings with folders and files whose own name says it; where they lie says more of whoever trained."""
SHOWN: Final = ("prompt", "workflow", "parameters", "sd-metadata", "invokeai_metadata", "invokeai_graph")
"""Keys with the prompt or workflow of a picture, embedded in the model."""
THUMBNAIL: Final = "modelspec.thumbnail"
COVERS: Final = "ssmd_cover_images"
TECHNICAL: Final = frozenset(
    (
        *("ss_optimizer", "ss_optimizer_type", "ss_lr_scheduler", "ss_network_module", "ss_network_args", "format"),
        *("ss_base_model_version", "ss_mixed_precision", "ss_loss_type", "ss_prior_loss_weight", "ss_session_id"),
        *(
            "modelspec.architecture",
            "modelspec.implementation",
            "modelspec.prediction_type",
            "modelspec.sai_model_spec",
        ),
        *("general.architecture", "general.license", "general.quantized_by", "general.languages"),
    )
)
"""Keys with words of the trade, in which :data:`TRADE` is passed over."""
TRADE: Final = (
    r"\b(?:adam\w*|adafactor|prodigy\w*|lion\w*|dadapt\w*|came|sgd\w*|cosine\w*|constant\w*|linear|polynomial|optim\w*"
    r"|bitsandbytes|torch|networks?|lora|locon|loha|lokr|lycoris|dora|kohya\w*|sdxl?|stable|diffusion|flux\w*|base|epsilon)\b"
)
LAYERS: Final = frozenset(
    (
        *("adapter", "add", "alpha", "attention", "attentions", "attn", "base", "batches", "bias", "blk", "block"),
        *(
            "blocks",
            "class",
            "clip",
            "cond",
            "conditioner",
            "context",
            "control",
            "controlnet",
            "conv",
            "convs",
            "decoder",
        ),
        *("default", "diff", "diffusion", "dora", "double", "down", "downsamplers", "ema", "emb", "embed", "embedder"),
        *("embedding", "embeddings", "encoder", "encoders", "fc", "ff", "ffn", "final", "first", "gate", "guidance"),
        *("hada", "head", "heads", "hint", "ids", "img", "in", "input", "key", "label", "layer", "layernorm", "layers"),
        *(
            "lin",
            "linear",
            "ln",
            "logit",
            "lokr",
            "lora",
            "lycoris",
            "magnitude",
            "mean",
            "mid",
            "middle",
            "mlp",
            "mod",
        ),
        *(
            "model",
            "modulation",
            "module",
            "modules",
            "net",
            "nin",
            "norm",
            "num",
            "oft",
            "op",
            "out",
            "output",
            "param",
        ),
        *("params", "patch", "pos", "position", "post", "processor", "proj", "projection", "qkv", "quant", "query"),
        *("relative", "resblocks", "resnet", "resnets", "rms", "running", "samplers", "scale", "self", "shared"),
        *("shortcut", "single", "skip", "skips", "stage", "string", "te", "text", "time", "timestep", "to", "token"),
        *("tokens", "tracked", "transformer", "txt", "unet", "up", "upsamplers", "vae", "value", "var", "vector"),
        *("visual", "weight", "wi", "wo", "zero"),
    )
)
"""Words that the names of tensors are made of, beside single letters: a name with no other is that of a layer."""
