"""The layers of a typed model, and which class of a file is which."""

from __future__ import annotations

from rnnexport.keras_files.activations import ACTIVATION_LAYERS
from rnnexport.keras_files.layers.attention import Attention, MultiHeadAttention
from rnnexport.keras_files.layers.convolution import Conv, GlobalPool, Pool
from rnnexport.keras_files.layers.dense import Activate, Dense, Embedding, Pass, PRelu, Rescale
from rnnexport.keras_files.layers.layer import KerasLayer
from rnnexport.keras_files.layers.masks import Masking
from rnnexport.keras_files.layers.merging import Concatenate, Dot, Merge
from rnnexport.keras_files.layers.normalization import BatchNorm, FeatureNorm, LayerNorm, Softmax, UnitNorm
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent
from rnnexport.keras_files.layers.shaping import Pad, Permute, Repeat, Reshape

LAYERS: dict[str, type[KerasLayer]] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"), Recurrent),
    "Bidirectional": Bidirectional,
    "Dense": Dense,
    "Embedding": Embedding,
    "Masking": Masking,
    **dict.fromkeys(ACTIVATION_LAYERS, Activate),
    "PReLU": PRelu,
    "Softmax": Softmax,
    **dict.fromkeys(
        (
            "Dropout",
            "SpatialDropout1D",
            "GaussianDropout",
            "GaussianNoise",
            "AlphaDropout",
            "ActivityRegularization",
            "Identity",
        ),
        Pass,
    ),
    "Rescaling": Rescale,
    "Conv1D": Conv,
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), Pool),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalAveragePooling1D"), GlobalPool),
    "BatchNormalization": BatchNorm,
    "LayerNormalization": LayerNorm,
    "UnitNormalization": UnitNorm,
    "Normalization": FeatureNorm,
    **dict.fromkeys(("Flatten", "Reshape"), Reshape),
    "Permute": Permute,
    "RepeatVector": Repeat,
    **dict.fromkeys(("ZeroPadding1D", "Cropping1D"), Pad),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), Merge),
    "Concatenate": Concatenate,
    "Dot": Dot,
    **dict.fromkeys(("Attention", "AdditiveAttention"), Attention),
    "MultiHeadAttention": MultiHeadAttention,
}
"""By the class's name in a file. `TimeDistributed` and models inside models are taken apart by `graph`."""
