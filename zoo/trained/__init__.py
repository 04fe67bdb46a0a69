"""Networks with weights: their files, where they lie, how they are asked, how they leave and enter."""
