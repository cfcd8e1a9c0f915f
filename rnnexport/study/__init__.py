"""LSTM against GRU, on real tasks: what is often said of them, measured."""
