"""Source B in batches of tensors: what `facecli.train.synth` draws one by one, alike on CPU and CUDA.

Nothing here loops over triangles, pixels or heads, and nothing asks the device for a number before a batch is whole.
"""
