"""The FastViT model core: variants table, network, modules and fusion."""
