"""What a graph computes: layers, cells, masks and inputs, read off its nodes."""
