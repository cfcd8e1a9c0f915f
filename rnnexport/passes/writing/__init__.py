"""Parts of a layer written as nodes: steps, products with weights, masks, operators."""
