"""Every file a FastViT lives in: layouts, key maps, loading, saving, metadata."""
