"""The m^n networks' blocks as one step, with a gradient of their own: on processors, and in Triton on GPUs."""
