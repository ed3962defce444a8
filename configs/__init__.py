"""Configs: base.py holds every field once; the others start from it and change what they must."""
