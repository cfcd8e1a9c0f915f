"""More recurrent modules of published packages: speech, graphs, health, language and tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.wild_models.modules import LENGTHS, MASK, SERIES, Called, Wild, of

_SPEECH = ("xs_pad:float32[batch,time,8]", "ilens:int64[batch]")
_EDGES = "edge_index:int64[2,edges] in 0..0"
_ESPNET = "espnet.nets.pytorch_backend"


def _skim(**options: Any) -> nn.Module:
    return of("espnet2.enh.layers.skim:SkiM")(8, 5, 6, segment_size=4, **options)


def _rnnp(*subsample: int) -> nn.Module:
    return of(f"{_ESPNET}.rnn.encoders:RNNP")(8, 2, 6, 5, np.array(subsample), 0.0)


def _tacotron_decoder() -> nn.Module:
    attention = of(f"{_ESPNET}.rnn.attentions:AttLoc")(8, 6, 5, 3, 2)
    kind = of(f"{_ESPNET}.tacotron2.decoder:Decoder")
    return kind(8, 4, attention, dlayers=1, dunits=6, prenet_layers=1, prenet_units=5, postnet_layers=0)


def _onmt_encoder() -> nn.Module:
    embedding = nn.Embedding(10, 6)
    embedding.embedding_size = 6  # type: ignore[assignment] # what OpenNMT's own says
    return of("onmt.encoders.rnn_encoder:RNNEncoder")("LSTM", True, 2, 8, 0.0, embedding, True)


def _dynamic_gru() -> nn.Module:
    def forward(gru: nn.Module, x: Tensor, scores: Tensor, lengths: Tensor) -> Tensor:
        packed, weights = (pack_padded_sequence(part, lengths, batch_first=True) for part in (x, scores))
        return pad_packed_sequence(gru(packed, weights), batch_first=True)[0]

    return Called(of("deepctr_torch.layers.sequence:DynamicGRU")(8, 6, gru_type="AUGRU"), forward)


def _slstm() -> nn.Module:
    config = of("xlstm.blocks.slstm.layer:sLSTMLayerConfig")
    return of("xlstm.blocks.slstm.layer:sLSTMLayer")(
        config(embedding_dim=8, num_heads=2, conv1d_kernel_size=3, backend="vanilla")
    )


def _mlstm() -> nn.Module:
    config = of("xlstm.blocks.mlstm.layer:mLSTMLayerConfig")
    return of("xlstm.blocks.mlstm.layer:mLSTMLayer")(
        config(embedding_dim=8, num_heads=2, conv1d_kernel_size=3, context_length=64)
    )


def _conv_rnn() -> nn.Module:
    config = SimpleNamespace(
        d_model=8,
        dim_feedforward=6,
        n_layers=2,
        rnn_dropout=0.0,
        bias=True,
        conv_bias=True,
        model_type="LSTM",
        d_conv=3,
        residuals=True,
        dilation=1,
        norm="LayerNorm",
        bidirectional=False,
        rnn_activation="tanh",
    )
    return of("mambular.arch_utils.rnn_utils:ConvRNN")(config)


MODULES = [
    Wild("espnet", "RNN encoder", lambda: of(f"{_ESPNET}.rnn.encoders:RNN")(8, 2, 6, 5, 0.0), _SPEECH),
    Wild("espnet", "RNNP encoder", lambda: _rnnp(1, 1, 1), _SPEECH),
    Wild("espnet", "RNNP encoder, subsampled", lambda: _rnnp(1, 2, 1), _SPEECH),
    Wild(
        "espnet",
        "VGG-BLSTM encoder",
        lambda: of(f"{_ESPNET}.rnn.encoders:Encoder")("vggblstm", 8, 1, 6, 5, np.array([1, 1]), 0.0),
        _SPEECH,
    ),
    Wild(
        "espnet",
        "RnnAttractor",
        lambda: of("espnet2.diar.attractor.rnn_attractor:RnnAttractor")(8, 1, 6),
        ["enc_input:float32[batch,time,8]", "ilens:int64[batch]", "dec_input:float32[batch,3,8]"],
    ),
    Wild("espnet", "SkiM", _skim, ["input:float32[batch,time,8]"]),
    Wild(
        "espnet",
        "SkiM, causal",
        lambda: _skim(bidirectional=False, norm_type="cLN"),
        ["input:float32[batch,time,8]"],
    ),
    Wild("espnet", "SkiM, segments that overlap", lambda: _skim(seg_overlap=True), ["input:float32[batch,time,8]"]),
    Wild(
        "espnet",
        "NavieComplexLSTM",
        lambda: Called(
            of("espnet2.enh.layers.complexnn:NavieComplexLSTM")(8, 6, projection_dim=8), lambda m, r, i: m([r, i])
        ),
        ["real:float32[time,batch,4]", "imag:float32[time,batch,4]"],
    ),
    Wild(
        "espnet",
        "GLSTM of DC-CRN",
        lambda: of("espnet2.enh.layers.dc_crn:GLSTM")(8, layers=2, groups=2, rearrange=True, bidirectional=True),
        ["x:float32[batch,4,time,2]"],
    ),
    Wild(
        "espnet",
        "GridNetBlock of TF-GridNet",
        lambda: of("espnet2.enh.separator.tfgridnet_separator:GridNetBlock")(4, 3, 1, 6, 5, n_head=2, approx_qk_dim=8),
        ["x:float32[batch,4,time,6]"],
    ),
    Wild(
        "espnet",
        "DPMulCat",
        lambda: of("espnet2.enh.layers.dpmulcat:DPMulCat")(8, 6, 8, 2, num_layers=2, input_normalize=True),
        ["input:float32[batch,8,5,chunks]"],
    ),
    Wild(
        "espnet",
        "Tacotron2 Decoder, teacher forced",
        _tacotron_decoder,
        ["hs:float32[batch,time,8]", "hlens:int64[batch]", "ys:float32[batch,frames,4]"],
    ),
    Wild(
        "espnet",
        "CBHG",
        lambda: of(f"{_ESPNET}.tacotron2.cbhg:CBHG")(
            8,
            9,
            conv_bank_layers=2,
            conv_bank_chans=4,
            conv_proj_chans=4,
            highway_layers=1,
            highway_units=6,
            gru_units=6,
        ),
        ["xs:float32[batch,time,8]", "ilens:int64[batch]"],
    ),
    Wild(
        "espnet",
        "StyleEncoder",
        lambda: of("espnet2.tts.gst.style_encoder:StyleEncoder")(
            idim=20,
            gst_tokens=4,
            gst_token_dim=8,
            gst_heads=2,
            conv_layers=2,
            conv_chans_list=(4, 4),
            gru_units=6,
        ),
        ["speech:float32[batch,time,20]"],
    ),
    Wild(
        "espnet",
        "RNNDecoder of the transducer",
        lambda: of("espnet2.asr_transducer.decoder.rnn_decoder:RNNDecoder")(
            10, embed_size=8, hidden_size=8, num_layers=2
        ),
        ["labels:int64[batch,time]"],
    ),
    Wild(
        "coqui-tts",
        "Tacotron2 Encoder",
        lambda: of("TTS.tts.layers.tacotron.tacotron2:Encoder")(8),
        ["x:float32[batch,8,time]", "input_lengths:int64[batch]"],
    ),
    Wild(
        "coqui-tts",
        "EncoderCBHG of Tacotron",
        lambda: of("TTS.tts.layers.tacotron.tacotron:EncoderCBHG")(),
        ["inputs:float32[batch,128,time]"],
    ),
    Wild(
        "coqui-tts",
        "ReferenceEncoder of Capacitron",
        lambda: of("TTS.tts.layers.tacotron.capacitron_layers:ReferenceEncoder")(20, 6),
        ["inputs:float32[batch,time,20]", "input_lengths:int64[batch]"],
    ),
    Wild(
        "coqui-tts",
        "Encoder of OverFlow",
        lambda: of("TTS.tts.layers.overflow.common_layers:Encoder")(10, 2, 8, 2),
        ["x:int64[batch,time]", "x_len:int64[batch]"],
    ),
    Wild(
        "coqui-tts",
        "LSTMSpeakerEncoder",
        lambda: of("TTS.encoder.models.lstm:LSTMSpeakerEncoder")(8, 5, 7, 2),
        ["x:float32[batch,8,time]"],
    ),
    Wild(
        "deepfilternet",
        "GroupedGRU",
        lambda: of("df.modules:GroupedGRU")(8, 8, 2, groups=2, add_outputs=True),
        ["input:float32[batch,time,8]"],
    ),
    Wild(
        "deepfilternet",
        "SqueezedGRU",
        lambda: of("df.modules:SqueezedGRU")(8, 8, 6, linear_groups=2, gru_skip_op=nn.Identity),
        ["input:float32[batch,time,8]", "h:float32[1,batch,8]"],
    ),
    Wild(
        "nemo-toolkit",
        "layer-norm LSTM, a script",
        lambda: Called(
            of("nemo.collections.common.parts.rnn:ln_lstm")(8, 6, 2, None, 1.0, None), lambda m, x: m(x, None)
        ),
        ["input:float32[time,batch,8]"],
    ),
    Wild(
        "nemo-toolkit",
        "BNRNNSum and StackTime",
        lambda: Called(
            nn.Sequential(
                of("nemo.collections.common.parts.rnn:BNRNNSum")(8, 6, nn.LSTM, 2, norm_first_rnn=True),
                of("nemo.collections.common.parts.rnn:StackTime")(2),
            ),
            lambda m, x, lengths: m[1]((m[0](x)[0], lengths)),
        ),
        ["x:float32[time,batch,8]", LENGTHS],
    ),
    Wild(
        "torch-geometric",
        "Set2Set",
        lambda: Called(of("torch_geometric.nn.aggr:Set2Set")(6, 3), lambda m, x, index: m(x, index[0], dim_size=4)),
        ["x:float32[nodes,6]", "index:int64[1,nodes] in 0..3"],
    ),
    Wild(
        "torch-geometric",
        "LSTMAggregation",
        lambda: Called(
            of("torch_geometric.nn.aggr:LSTMAggregation")(6, 5),
            lambda m, x, index: m(x, index[0], dim_size=4, max_num_elements=60),
        ),
        ["x:float32[nodes,6]", "index:int64[1,nodes] in 0..0"],
    ),
    Wild(
        "torch-geometric",
        "GatedGraphConv",
        lambda: of("torch_geometric.nn:GatedGraphConv")(6, 2),
        ["x:float32[nodes,6]", _EDGES],
    ),
    Wild(
        "torch-geometric",
        "JumpingKnowledge, LSTM",
        lambda: Called(of("torch_geometric.nn:JumpingKnowledge")("lstm", 6, 3), lambda m, *layers: m([*layers])),
        ["a:float32[nodes,6]", "b:float32[nodes,6]", "c:float32[nodes,6]"],
    ),
    Wild(
        "torch-geometric-temporal",
        "GConvGRU",
        lambda: of("torch_geometric_temporal.nn.recurrent.gconv_gru:GConvGRU")(4, 6, 2),
        ["X:float32[nodes,4]", _EDGES],
    ),
    Wild("pyhealth", "RETAINLayer", lambda: of("pyhealth.models.retain:RETAINLayer")(8), [SERIES]),
    Wild("pyhealth", "AdaCareLayer", lambda: of("pyhealth.models.adacare:AdaCareLayer")(8, 6, 2, 4), [SERIES, MASK]),
    Wild("pyhealth", "StageNetLayer", lambda: of("pyhealth.models.stagenet:StageNetLayer")(8, 6, 3), [SERIES]),
    Wild(
        "pyhealth",
        "ConCareLayer",
        lambda: of("pyhealth.models.concare:ConCareLayer")(4, 0, 8, 4, 2),
        ["x:float32[batch,time,4]"],
    ),
    Wild("pyhealth", "RNNLayer", lambda: of("pyhealth.models.rnn:RNNLayer")(8, 6, bidirectional=True), [SERIES, MASK]),
    Wild("OpenNMT-py", "RNNEncoder with a bridge", _onmt_encoder, ["src:int64[batch,time]", "src_len:int64[batch]"]),
    Wild(
        "OpenNMT-py",
        "StackedLSTM",
        lambda: of("onmt.modules.stacked_rnn:StackedLSTM")(2, 8, 6, 0.0),
        ["input_feed:float32[batch,8]", "hidden.0:float32[2,batch,6]", "hidden.1:float32[2,batch,6]"],
    ),
    Wild(
        "flair",
        "LanguageModel",
        lambda: of("flair.models.language_model:LanguageModel")(list(range(10)), True, 6, 1, 8),
        ["input:int64[time,batch]", "hidden.0:float32[1,batch,6]", "hidden.1:float32[1,batch,6]"],
    ),
    Wild(
        "pyabsa",
        "DynamicLSTM",
        lambda: of("pyabsa.networks.dynamic_rnn:DynamicLSTM")(8, 6, batch_first=True, bidirectional=True),
        [SERIES, "x_len:int64[batch]"],
    ),
    Wild(
        "deepctr-torch",
        "DynamicGRU, AUGRU",
        _dynamic_gru,
        [SERIES, "scores:float32[batch,time]", LENGTHS],
    ),
    Wild(
        "deepctr-torch",
        "InterestExtractor of DIEN",
        lambda: of("deepctr_torch.models.dien:InterestExtractor")(8),
        ["keys:float32[batch,time,8]", "keys_length:int64[batch]"],
    ),
    Wild("xlstm", "sLSTMLayer", _slstm, [SERIES]),
    Wild("xlstm", "mLSTMLayer", _mlstm, ["x:float32[batch,64,8]"]),
    Wild(
        "minGRU-pytorch",
        "minGRU",
        lambda: of("minGRU_pytorch.minGRU:minGRU")(8, 1.5),
        ["x:float32[batch,time>=2,8]"],
    ),
    Wild("mambular", "ConvRNN", _conv_rnn, [SERIES]),
    Wild("mambular", "sLSTMblock", lambda: of("mambular.arch_utils.lstm_utils:sLSTMblock")(8, 6, 2), [SERIES]),
    Wild("mambular", "mLSTMblock", lambda: of("mambular.arch_utils.lstm_utils:mLSTMblock")(8, 6, 2), [SERIES]),
]
