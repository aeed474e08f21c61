"""The names of the reference program beside ours (which are timm's), as one table that both directions share."""

from collections.abc import Iterable

# (native, reference). Each is a run of whole dotted parts, unique on its side.
_INNER_NAMES = (
    ("conv_kxk", "rbr_conv"),
    ("conv_scale", "rbr_scale"),
    ("identity", "rbr_skip"),
    ("large_conv", "lkb_origin"),
    ("downsample.proj.0.reparam_conv", "downsample.proj.0.lkb_reparam"),
    ("pos_emb.pos_enc", "pos_emb.pe"),
    # Only here: the SE of MobileCLIP's down-sampling is timm's own and keeps its names.
    ("final_conv.se.fc1", "final_conv.se.reduce"),
    ("final_conv.se.fc2", "final_conv.se.expand"),
    ("mlp", "convffn"),
    ("layer_scale.gamma", "layer_scale"),
    ("layer_scale_1.gamma", "layer_scale_1"),
    ("layer_scale_2.gamma", "layer_scale_2"),
)


_STAGES = 4


def _module_names(attention: bool) -> list[tuple[str, str]]:
    """(native, reference) names of the top modules: the reference keeps its stages in one flat list."""
    names = [("stem", "patch_embed"), ("final_conv", "conv_exp"), ("head.fc", "head")]
    position = 0
    for stage in range(_STAGES):
        parts = ["downsample"] if stage else []
        if attention and stage == _STAGES - 1:
            parts.append("pos_emb")
        for part in [*parts, "blocks"]:
            # The reference's `network.1` holds `proj`, `network.6` holds `pe`, as our parts do.
            names.append((f"stages.{stage}.{part}", f"network.{position}"))
            position += 1
    return names


def _rename_part(key: str, old: str, new: str) -> str:
    """Replace one whole dotted run of `key`, leaving partial matches alone."""
    padded = f".{key}."
    return padded.replace(f".{old}.", f".{new}.", 1)[1:-1] if f".{old}." in padded else key


def _rename_first(key: str, names: Iterable[tuple[str, str]]) -> str:
    for old, new in names:
        if key == old or key.startswith(old + "."):
            return new + key[len(old) :]
    return key


def reference_to_native(key: str, attention: bool) -> str:
    """Our name of a reference key, for the fused and the unfused form alike.

    Args:
        attention: whether stage 4 mixes by attention; it then starts with a positional encoding, one more
            position in the reference's flat list.
    """
    key = _rename_first(key, [(reference, native) for native, reference in _module_names(attention)])
    for native, reference in _INNER_NAMES:
        key = _rename_part(key, reference, native)
    return key


def native_to_reference(key: str, attention: bool) -> str:
    """The reference's name of one of our keys; the inverse of `reference_to_native`."""
    for native, reference in _INNER_NAMES:
        key = _rename_part(key, native, reference)
    return _rename_first(key, _module_names(attention))
