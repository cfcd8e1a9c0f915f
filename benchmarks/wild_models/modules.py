"""Recurrent modules of published packages, built small by their own constructors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

SERIES, LENGTHS, MASK = "x:float32[batch,time,8]", "lengths:int64[batch]", "mask:bool[batch,time]"


@dataclass(frozen=True, slots=True)
class Wild:
    """One module: where it comes from, how it is built, and what its forward takes."""

    package: str
    """As the package index names it."""
    name: str
    make: Callable[[], nn.Module]
    inputs: Sequence[str]


def of(path: str) -> Any:
    """Import `module:name`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class Called(nn.Module):
    """Calls `function(module, …)`: for what a package calls otherwise than by the inputs of a forward."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *inputs: Tensor) -> Any:
        """Call the function."""
        return self.function(self.module, *inputs)


# speech and music

_SB = "speechbrain.nnet.RNN"


def _crdnn() -> nn.Module:
    kind = of("speechbrain.lobes.models.CRDNN:CRDNN")
    lstm = of(f"{_SB}:LSTM")
    return kind(
        input_shape=[None, None, 20],
        cnn_channels=[4, 6],
        rnn_class=lstm,
        rnn_layers=2,
        rnn_neurons=8,
        rnn_bidirectional=True,
        time_pooling=True,
        dnn_blocks=1,
        dnn_neurons=8,
    )


def _tacotron_encoder() -> nn.Module:
    return of("speechbrain.lobes.models.Tacotron2:Encoder")(2, 16, 5)


def _demucs() -> nn.Module:
    kind = of("demucs.demucs:Demucs")
    return kind(
        ["a", "b"], channels=4, depth=2, lstm_layers=1, dconv_mode=0, normalize=False, resample=False, norm_starts=9
    )


def _unmix() -> nn.Module:
    return of("openunmix.model:OpenUnmix")(nb_bins=20, hidden_size=8, nb_layers=2, max_bin=12)


# recommendation


def _recbole(path: str, **more: Any) -> nn.Module:
    config = {
        "USER_ID_FIELD": "user",
        "ITEM_ID_FIELD": "item",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": 50,
        "device": torch.device("cpu"),
        "embedding_size": 8,
        "hidden_size": 8,
        "loss_type": "CE",
        "num_layers": 1,
        "n_layers": 1,
        "dropout_prob": 0.1,
        "dropout_probs": [0.1, 0.1],
        **more,
    }
    return of(path)(config, SimpleNamespace(num=lambda field: 30))


def _rechub_gru4rec() -> nn.Module:
    feature = of("torch_rechub.basic.features:SequenceFeature")
    history = [feature("hist", 30, 8, pooling="concat", padding_idx=0)]
    item, user = (of("torch_rechub.basic.features:SparseFeature")(name, 30, 8) for name in ("item", "user"))
    kind = of("torch_rechub.models.matching.gru4rec:GRU4Rec")
    model = kind([user], history, [item], [], {"dims": [8]})
    return Called(model, lambda m, user, hist: m.user_tower({"user": user, "hist": hist}))


def _augru() -> nn.Module:
    return of("torch_rechub.models.ranking.dien:AUGRU")(8)


# language


def _stanza_tokenizer() -> nn.Module:
    args = {
        "feat_dim": 3,
        "rnn_layers": 1,
        "conv_res": "1,3",
        "use_mwt": True,
        "hierarchical": True,
        "hier_invtemp": 0.5,
        "tok_noise": 0.02,
        "hier_conv_res": False,
    }
    return of("stanza.models.tokenization.model:Tokenizer")(args, 30, 8, 6, 0.3, 0.05)


def _stanza_charlm() -> nn.Module:
    args = {
        "char_emb_dim": 8,
        "char_hidden_dim": 12,
        "char_num_layers": 1,
        "char_dropout": 0.1,
        "char_rec_dropout": 0,
        "char_unit_dropout": 0,
    }
    return of("stanza.models.common.char_model:CharacterLanguageModel")(args, {"char": list(range(30))})


def _langid() -> nn.Module:
    letters = {"<PAD>": 0, **{chr(97 + i): i + 1 for i in range(26)}}
    return of("stanza.models.langid.model:LangIDBiLSTM")(letters, {"a": 0, "b": 1}, 2, 8, 6)


def _highway() -> nn.Module:
    return of("stanza.models.common.hlstm:HighwayLSTM")(
        8, 6, 2, batch_first=True, bidirectional=True, pad=True, highway_func=torch.tanh
    )


def _joey() -> nn.Module:
    return of("joeynmt.encoders:RecurrentEncoder")(hidden_size=6, emb_size=8, num_layers=2)


def _allen_seq2seq(kind: str, **options: Any) -> nn.Module:
    return of(f"allennlp.modules.seq2seq_encoders.pytorch_seq2seq_wrapper:{kind}")(8, 6, **options)


def _allen_seq2vec(kind: str, **options: Any) -> nn.Module:
    return of(f"allennlp.modules.seq2vec_encoders.pytorch_seq2vec_wrapper:{kind}")(8, 6, **options)


def _elmo() -> nn.Module:
    return of("allennlp.modules.elmo_lstm:ElmoLstm")(8, 8, 12, 2, memory_cell_clip_value=3.0)


# forecasting, imputation, detection


def _deepar() -> nn.Module:
    model = of("gluonts.torch.model.deepar.module:DeepARModel")(
        "D",
        10,
        4,
        num_feat_dynamic_real=2,
        num_feat_static_real=1,
        num_feat_static_cat=1,
        cardinality=[5],
        num_layers=2,
        hidden_size=8,
        lags_seq=[1, 2, 3],
    )
    return Called(model, lambda m, *given: m.unroll_lagged_rnn(*given)[0])


def _gluon_tft() -> nn.Module:
    kind = of("gluonts.torch.model.tft.layers:TemporalFusionEncoder")
    return Called(kind(8, 8), lambda m, context, target: m(context, target))


def _forecasting_rnn(kind: str) -> nn.Module:
    model = of(f"pytorch_forecasting.models.nn.rnn:{kind}")(8, 6, batch_first=True)
    return Called(model, lambda m, x, lengths: m(x, lengths=lengths, enforce_sorted=False))


def _rits() -> nn.Module:
    model = of("pypots.nn.modules.brits.backbone:BackboneRITS")(6, 4, 8)
    return Called(
        model,
        lambda m, x, missing, deltas: m({"forward": {"X": x, "missing_mask": missing, "deltas": deltas}}, "forward"),
    )


def _mrnn_fcn() -> nn.Module:
    return of("deepod.core.networks.base_networks:LSTMNet")(8, "6", 4)


# reinforcement learning


def _recurrent_ppo() -> nn.Module:
    policy = of("sb3_contrib.common.recurrent.policies:RecurrentActorCriticPolicy")
    process = policy.__dict__["_process_sequence"].__func__

    def forward(lstm: nn.Module, features: Tensor, h: Tensor, c: Tensor, episode_starts: Tensor) -> Any:
        return process(features, (h, c), episode_starts, lstm)

    return Called(nn.LSTM(8, 6), forward)


def _tianshou() -> nn.Module:
    model = of("tianshou.utils.net.common:Recurrent")(layer_num=1, state_shape=8, action_shape=3, hidden_layer_size=6)
    return Called(model, lambda m, obs, hidden, cell: m(obs, {"hidden": hidden, "cell": cell})[0])


def _rsl() -> nn.Module:
    model = of("rsl_rl.modules.rnn:RNN")(8, 6, 2, "lstm")

    def forward(rnn: Any, x: Tensor, h: Tensor, c: Tensor) -> Any:
        rnn.hidden_state = (h, c)
        return rnn(x), rnn.hidden_state

    return Called(model, forward)


# others


def _snn(path: str, **options: Any) -> nn.Module:
    cell = of(path)(**options)

    def forward(neuron: Any, x: Tensor) -> Tensor:
        state = [part.expand(x.shape[1], 8) for part in (torch.zeros(1, 8), torch.zeros(1, 8))]
        spikes = []
        for step in range(x.shape[0]):
            spike, *state = neuron(x[step], *state)
            spikes.append(spike)
        return torch.stack(spikes)

    return Called(cell, forward)


MODULES = [
    Wild(
        "speechbrain",
        "LSTM with relative lengths",
        lambda: of(f"{_SB}:LSTM")(8, input_size=8, bidirectional=True),
        ["x:float32[batch,time>=2,8]", "lengths:float32[batch] in 0.5..1"],
    ),
    Wild("speechbrain", "GRU, two layers", lambda: of(f"{_SB}:GRU")(8, input_size=8, num_layers=2), [SERIES]),
    Wild("speechbrain", "RNN", lambda: of(f"{_SB}:RNN")(8, input_size=8), [SERIES]),
    Wild(
        "speechbrain",
        "LiGRU",
        lambda: of(f"{_SB}:LiGRU")(6, [1, None, 8]),
        [SERIES],
    ),
    Wild("speechbrain", "QuasiRNN", lambda: of(f"{_SB}:QuasiRNN")(6, input_size=8, num_layers=2), [SERIES]),
    Wild("speechbrain", "CRDNN", _crdnn, ["x:float32[batch,time,20]"]),
    Wild(
        "speechbrain",
        "Tacotron2 Encoder",
        _tacotron_encoder,
        ["x:float32[batch,16,time]", "input_lengths:int64[batch]"],
    ),
    Wild(
        "speechbrain",
        "EnhancementGenerator of MetricGAN",
        lambda: of("speechbrain.lobes.models.MetricGAN:EnhancementGenerator")(8),
        ["x:float32[batch,time>=2,8]", "lengths:float32[batch] in 0.5..1"],
    ),
    Wild(
        "asteroid",
        "DPRNN",
        lambda: of("asteroid.masknn.recurrent:DPRNN")(8, 2, bn_chan=6, hid_size=5, chunk_size=6, n_repeats=1),
        ["mixture_w:float32[batch,8,time]"],
    ),
    Wild(
        "asteroid",
        "StackedResidualRNN",
        lambda: of("asteroid.masknn.recurrent:StackedResidualRNN")("GRU", 8, 2),
        [SERIES],
    ),
    Wild(
        "asteroid",
        "MulCatRNN",
        lambda: of("asteroid.masknn.recurrent:MulCatRNN")("LSTM", 8, 6),
        ["inp:float32[batch,time,8]"],
    ),
    Wild(
        "asteroid",
        "LSTMMasker",
        lambda: of("asteroid.masknn.recurrent:LSTMMasker")(8, 2, n_layers=2, hid_size=6),
        ["x:float32[batch,8,time]"],
    ),
    Wild("openunmix", "OpenUnmix", _unmix, ["x:float32[batch,2,20,frames]"]),
    Wild("demucs", "Demucs", _demucs, ["mix:float32[batch,2,samples]"]),
    Wild("demucs", "BLSTM", lambda: of("demucs.demucs:BLSTM")(8, 2, skip=True), ["x:float32[batch,8,time]"]),
    Wild(
        "easyocr",
        "CRNN, VGG",
        lambda: of("easyocr.model.vgg_model:Model")(1, 16, 8, 12),
        ["input:float32[batch,1,64,width]", "text:int64[batch,5]"],
    ),
    Wild(
        "easyocr",
        "CRNN, ResNet",
        lambda: of("easyocr.model.model:Model")(1, 16, 8, 12),
        ["input:float32[batch,1,64,width]", "text:int64[batch,5]"],
    ),
    Wild(
        "kraken",
        "TransposedSummarizingRNN",
        lambda: of("kraken.lib.vgsl.layers:TransposedSummarizingRNN")(8, 6, "b", False, False),
        ["inputs:float32[batch,8,1,time]"],
    ),
    Wild(
        "kraken",
        "TransposedSummarizingRNN, columns, summarized",
        lambda: of("kraken.lib.vgsl.layers:TransposedSummarizingRNN")(8, 6, "f", True, True),
        ["inputs:float32[batch,8,height,time]"],
    ),
    Wild(
        "python-doctr",
        "AttentionModule of SAR",
        lambda: of("doctr.models.recognition.sar.pytorch:SAREncoder")(8, 6),
        ["x:float32[batch,time,8]"],
    ),
    Wild(
        "recbole",
        "GRU4Rec",
        lambda: _recbole("recbole.model.sequential_recommender.gru4rec:GRU4Rec"),
        ["item_seq:int64[batch,time]", "item_seq_len:int64[batch]"],
    ),
    Wild(
        "recbole",
        "NARM",
        lambda: _recbole("recbole.model.sequential_recommender.narm:NARM"),
        ["item_seq:int64[batch,time]", "item_seq_len:int64[batch]"],
    ),
    Wild(
        "recbole",
        "DynamicRNN of DIEN",
        lambda: Called(of("recbole.model.sequential_recommender.dien:AUGRUCell")(8, 6), lambda m, x, h, a: m(x, h, a)),
        ["x:float32[batch,8]", "h:float32[batch,6]", "a:float32[batch]"],
    ),
    Wild("torch-rechub", "GRU4Rec", _rechub_gru4rec, ["user:int64[batch] in 0..29", "hist:int64[batch,time] in 0..29"]),
    Wild("torch-rechub", "AUGRU of DIEN", _augru, ["x:float32[batch,time,8]", "item:float32[batch,8]"]),
    Wild(
        "stanza",
        "Tokenizer",
        _stanza_tokenizer,
        ["x:int64[batch,time]", "feats:float32[batch,time,3]", "lengths:int64[batch]"],
    ),
    Wild("stanza", "CharacterLanguageModel", _stanza_charlm, ["chars:int64[batch,time]", "charlens:int64[batch]"]),
    Wild("stanza", "LangIDBiLSTM", _langid, ["x:int64[batch,time]"]),
    Wild("stanza", "HighwayLSTM", _highway, ["input:float32[batch,time,8]", "seqlens:int64[batch]"]),
    Wild(
        "joeynmt",
        "RecurrentEncoder",
        _joey,
        ["src_embed:float32[batch,time,8]", "src_length:int64[batch]", "mask:bool[batch,1,time]"],
    ),
    Wild(
        "allennlp",
        "LstmSeq2SeqEncoder",
        lambda: _allen_seq2seq("LstmSeq2SeqEncoder", bidirectional=True),
        ["inputs:float32[batch,time,8]", MASK],
    ),
    Wild(
        "allennlp",
        "AugmentedLstmSeq2SeqEncoder",
        lambda: _allen_seq2seq("AugmentedLstmSeq2SeqEncoder"),
        ["inputs:float32[batch,time,8]", MASK],
    ),
    Wild(
        "allennlp",
        "GruSeq2VecEncoder",
        lambda: _allen_seq2vec("GruSeq2VecEncoder"),
        ["inputs:float32[batch,time,8]", MASK],
    ),
    Wild("allennlp", "ElmoLstm", _elmo, ["inputs:float32[batch,time,8]", MASK]),
    Wild(
        "pytorch-nlp",
        "WeightDropLSTM",
        lambda: of("torchnlp.nn.weight_drop:WeightDropLSTM")(8, 6, weight_dropout=0.3),
        ["input:float32[time,batch,8]"],
    ),
    Wild(
        "gluonts",
        "DeepARModel, unrolled over the past",
        _deepar,
        [
            "feat_static_cat:int64[batch,1] in 0..4",
            "feat_static_real:float32[batch,1]",
            "past_time_feat:float32[batch,13,2]",
            "past_target:float32[batch,13]",
            "past_observed_values:float32[batch,13]",
            "future_time_feat:float32[batch,1,2]",
        ],
    ),
    Wild(
        "gluonts",
        "TemporalFusionEncoder",
        _gluon_tft,
        ["context:float32[batch,time,8]", "target:float32[batch,horizon,8]"],
    ),
    Wild("pytorch-forecasting", "GRU with lengths of 0", lambda: _forecasting_rnn("GRU"), [SERIES, LENGTHS]),
    Wild(
        "pypots",
        "RITS of BRITS",
        _rits,
        ["x:float32[batch,6,4]", "missing:float32[batch,6,4]", "deltas:float32[batch,6,4]"],
    ),
    Wild(
        "pypots",
        "GRU-D",
        lambda: of("pypots.nn.modules.grud.backbone:BackboneGRUD")(6, 4, 8),
        [
            "X:float32[batch,6,4]",
            "missing_mask:float32[batch,6,4]",
            "deltas:float32[batch,6,4]",
            "empirical_mean:float32[4]",
            "X_filledLOCF:float32[batch,6,4]",
        ],
    ),
    Wild(
        "pypots",
        "MultiRNNCell of CRLI",
        lambda: of("pypots.nn.modules.crli.layers:MultiRNNCell")("GRU", 2, 4, 6),
        ["X:float32[batch,time,4]", "missing_mask:float32[batch,time,4]"],
    ),
    Wild(
        "pypots",
        "SegRNN",
        lambda: of("pypots.nn.modules.segrnn.backbone:BackboneSegRNN")(12, 4, 8, 4, 8),
        ["x:float32[batch,12,4]"],
    ),
    Wild("deepod", "LSTMNet", _mrnn_fcn, [SERIES]),
    Wild(
        "sb3-contrib",
        "sequence of RecurrentPPO",
        _recurrent_ppo,
        ["features:float32[time,8]", "h:float32[1,1,6]", "c:float32[1,1,6]", "episode_starts:float32[time]"],
    ),
    Wild(
        "tianshou",
        "Recurrent",
        _tianshou,
        ["obs:float32[batch,time,8]", "hidden:float32[batch,1,6]", "cell:float32[batch,1,6]"],
    ),
    Wild("rsl-rl-lib", "RNN", _rsl, ["x:float32[batch,8]", "h:float32[2,batch,6]", "c:float32[2,batch,6]"]),
    Wild("ncps", "CfC", lambda: of("ncps.torch:CfC")(8, 6, backbone_units=8), ["input:float32[batch,time,8]"]),
    Wild("snntorch", "SLSTM", lambda: _snn("snntorch:SLSTM", input_size=8, hidden_size=8), ["x:float32[time,batch,8]"]),
    Wild(
        "snntorch", "RLeaky", lambda: _snn("snntorch:RLeaky", beta=0.9, linear_features=8), ["x:float32[time,batch,8]"]
    ),
]
