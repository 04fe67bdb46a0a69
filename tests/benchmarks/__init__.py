"""Measurements beside the tests: run by name, each prints the Markdown table that README.md keeps."""
